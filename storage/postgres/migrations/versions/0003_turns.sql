-- Turns are set right after the fact: given back or taken twice when an offer ends, given or taken by a person.

CREATE FUNCTION adds_up(numbers bigint[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT coalesce(sum(n), 0)::bigint FROM unnest(numbers) AS n);

CREATE TABLE turns_owed (
    id uuid CONSTRAINT pk_turns_owed PRIMARY KEY,
    market text NOT NULL,
    rotation text NOT NULL,
    offer_id uuid CONSTRAINT uq_turns_owed_offer_id UNIQUE,
    effect text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    member integer[] NOT NULL,
    delta bigint[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ck_turns_owed_effect CHECK (effect IN ('return', 'penalise', 'give', 'take')),
    CONSTRAINT ck_turns_owed_balanced CHECK (cardinality(member) = cardinality(delta) AND adds_up(delta) = 0)
);
COMMENT ON TABLE turns_owed IS 'Corrections to be carried out; each row leaves when its correction is written.';

CREATE TABLE corrections (
    id uuid CONSTRAINT pk_corrections PRIMARY KEY,
    market text NOT NULL,
    rotation text NOT NULL,
    generation bigint NOT NULL,
    seq bigint NOT NULL,
    offer_id uuid,
    effect text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    member integer[] NOT NULL,
    delta bigint[] NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT fk_corrections_offer_id FOREIGN KEY (offer_id) REFERENCES offers (id),
    CONSTRAINT uq_corrections_offer_id UNIQUE (offer_id),
    CONSTRAINT uq_corrections_market_generation_seq UNIQUE (market, generation, seq),
    CONSTRAINT ck_corrections_effect CHECK (effect IN ('return', 'penalise', 'give', 'take')),
    CONSTRAINT ck_corrections_balanced CHECK (cardinality(member) = cardinality(delta) AND adds_up(delta) = 0)
);
COMMENT ON TABLE corrections IS 'Turns that were set right, in one order with the decisions; rows are never changed.';

CREATE TRIGGER never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON corrections
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A number is given once, to a decision or to a correction: a turnstile that gives one again was set back. Whoever
-- writes corrections waits for decisions that are being committed, and they for it, so that one sees the other.
CREATE FUNCTION refuse_number_of_correction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    these record;
BEGIN
    FOR these IN
        SELECT market, generation, min(seq) AS first, max(seq) AS last FROM made GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        PERFORM pg_advisory_xact_lock_shared(hashtext('numbers:' || these.market));
        -- By the range, so that the index answers: between the numbers of a batch there is hardly ever another.
        IF EXISTS (
            SELECT FROM corrections c
            WHERE c.market = these.market AND c.generation = these.generation
              AND c.seq BETWEEN these.first AND these.last
              AND EXISTS (SELECT FROM made m WHERE (m.market, m.generation, m.seq) = (c.market, c.generation, c.seq))
        ) THEN
            RAISE EXCEPTION USING MESSAGE = 'a correction has this number', ERRCODE = 'unique_violation',
                CONSTRAINT = 'decisions_numbered_once';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER numbered_once AFTER INSERT ON decisions REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_number_of_correction();

CREATE FUNCTION refuse_number_of_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this record;
BEGIN
    FOR this IN SELECT market, generation, seq FROM made ORDER BY 1, 2, 3 LOOP
        PERFORM pg_advisory_xact_lock(hashtext('numbers:' || this.market));
        IF EXISTS (
            SELECT FROM decisions d
            WHERE d.market = this.market AND d.generation = this.generation AND d.seq = this.seq
        ) THEN
            RAISE EXCEPTION USING MESSAGE = 'a decision has this number', ERRCODE = 'unique_violation',
                CONSTRAINT = 'corrections_numbered_once';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER numbered_once AFTER INSERT ON corrections REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_number_of_decision();

CREATE VIEW inv_number_twice AS
SELECT 'decision ' || d.id AS subject, 'has the number ' || d.seq || ' of correction ' || c.id AS detail, c.at
FROM corrections c JOIN decisions d USING (market, generation, seq);

CREATE VIEW inv_turn_of_open_offer AS
SELECT 'offer ' || o.id AS subject, 'is ' || o.state || ', its turn was corrected' AS detail, c.at
FROM corrections c JOIN offers o ON o.id = c.offer_id
WHERE o.state IN ('offered', 'accepted', 'void');

CREATE VIEW inv_standings_add_up AS
SELECT 'rotation ' || rotation || ' of ' || market AS subject, 'standings add up to ' || sum(standing) AS detail
FROM standings GROUP BY market, rotation HAVING sum(standing) <> 0;

COMMENT ON VIEW inv_number_twice IS 'No number is given to a decision and to a correction.';
COMMENT ON VIEW inv_turn_of_open_offer IS 'No turn is corrected before its offer has ended.';
COMMENT ON VIEW inv_standings_add_up IS 'The standings of a rotation add up to exactly zero.';

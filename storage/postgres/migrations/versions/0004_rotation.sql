-- How turns are kept: absences and what they are worth, leads given by hand that cost a turn, minimums, and for each
-- account how far it is, and ever was, from what was due to it.

CREATE TABLE absences (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_absences PRIMARY KEY,
    member_id integer NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    settled_at timestamptz,
    CONSTRAINT fk_absences_member_id FOREIGN KEY (member_id) REFERENCES members (id)
);
CREATE UNIQUE INDEX uq_absences_one_at_a_time ON absences (member_id) WHERE ended_at IS NULL;
CREATE INDEX ix_absences_unsettled ON absences (id) WHERE ended_at IS NOT NULL AND settled_at IS NULL;
COMMENT ON TABLE absences IS 'From when to when a member was paused, off duty, or inactive in Salesforce.';

CREATE FUNCTION note_absence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.active AND NEW.present AND NEW.left_at IS NULL THEN
        UPDATE absences SET ended_at = clock_timestamp() WHERE member_id = NEW.id AND ended_at IS NULL;
    ELSE
        INSERT INTO absences (member_id) VALUES (NEW.id)
        ON CONFLICT (member_id) WHERE ended_at IS NULL DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER absence_noted AFTER UPDATE OF active, present, left_at ON members
    FOR EACH ROW WHEN ((OLD.active AND OLD.present AND OLD.left_at IS NULL)
                       <> (NEW.active AND NEW.present AND NEW.left_at IS NULL))
    EXECUTE FUNCTION note_absence();

CREATE TABLE absence_debts (
    id uuid CONSTRAINT pk_absence_debts PRIMARY KEY,
    absence_id bigint NOT NULL,
    member_id integer NOT NULL,
    market text NOT NULL,
    rotation text NOT NULL,
    percent smallint NOT NULL,
    told text NOT NULL,
    member integer[] NOT NULL,
    delta bigint[] NOT NULL,
    parts smallint NOT NULL,
    paid smallint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    CONSTRAINT fk_absence_debts_absence_id FOREIGN KEY (absence_id) REFERENCES absences (id),
    CONSTRAINT fk_absence_debts_member_id FOREIGN KEY (member_id) REFERENCES members (id),
    CONSTRAINT ck_absence_debts_balanced CHECK (cardinality(member) = cardinality(delta) AND adds_up(delta) = 0),
    CONSTRAINT ck_absence_debts_paid CHECK (paid BETWEEN 0 AND parts)
);
CREATE INDEX ix_absence_debts_due ON absence_debts (next_at) WHERE paid < parts;
COMMENT ON TABLE absence_debts IS 'What a member is owed for an absence, by the policy at its return; paid in parts, a day each.';

CREATE TABLE turns_to_count (
    offer_id uuid CONSTRAINT pk_turns_to_count PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT fk_turns_to_count_offer_id FOREIGN KEY (offer_id) REFERENCES offers (id) ON DELETE CASCADE
);
COMMENT ON TABLE turns_to_count IS 'Offers that were nobody''s turn; each row leaves when it is settled whether it counts as one.';

CREATE FUNCTION note_turn_to_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO turns_to_count (offer_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER turn_to_count AFTER INSERT ON offers
    FOR EACH ROW WHEN (NEW.kind NOT IN ('turn', 'second')) EXECUTE FUNCTION note_turn_to_count();

CREATE TABLE minimum_flags (
    pool text NOT NULL,
    member_id integer NOT NULL,
    period text NOT NULL,
    market text NOT NULL,
    received integer NOT NULL,
    projected real NOT NULL,
    minimum integer NOT NULL,
    until timestamptz NOT NULL,
    flagged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cleared_at timestamptz,
    CONSTRAINT pk_minimum_flags PRIMARY KEY (pool, member_id, period),
    CONSTRAINT fk_minimum_flags_member_id FOREIGN KEY (member_id) REFERENCES members (id)
);
CREATE INDEX ix_minimum_flags_market ON minimum_flags (market) WHERE cleared_at IS NULL;
COMMENT ON TABLE minimum_flags IS 'Members on the way to miss their minimum of a period; while one is not cleared, its member weighs more.';

CREATE TABLE fairness_accounts (
    market text NOT NULL,
    rotation text NOT NULL,
    member_id integer NOT NULL,
    offers bigint NOT NULL,
    received bigint NOT NULL,
    entitled bigint NOT NULL,
    corrected bigint NOT NULL,
    worst bigint NOT NULL,
    CONSTRAINT pk_fairness_accounts PRIMARY KEY (market, rotation, member_id)
);
COMMENT ON TABLE fairness_accounts IS 'Offers, and micro-turns received, earned and corrected, of each account up to fairness_marks.';

CREATE TABLE fairness_rotations (
    market text NOT NULL,
    rotation text NOT NULL,
    pool text NOT NULL,
    decisions bigint NOT NULL,
    turn bigint NOT NULL,
    worst bigint NOT NULL,
    worst_member integer,
    worst_at timestamptz,
    CONSTRAINT pk_fairness_rotations PRIMARY KEY (market, rotation)
);
COMMENT ON TABLE fairness_rotations IS 'How far anyone of a rotation ever was from what was due to it, and the largest turn.';

CREATE TABLE fairness_marks (
    market text CONSTRAINT pk_fairness_marks PRIMARY KEY,
    generation bigint NOT NULL,
    seq bigint NOT NULL
);
COMMENT ON TABLE fairness_marks IS 'The last decision or correction that is in fairness_accounts.';

CREATE TABLE fairness_gaps (
    market text NOT NULL,
    generation bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_fairness_gaps PRIMARY KEY (market, generation, seq)
);
COMMENT ON TABLE fairness_gaps IS 'Numbers before the mark that the ledger had not when it was passed; one that comes late is added then.';

CREATE TABLE rolled (
    market text NOT NULL,
    rotation text NOT NULL,
    generation bigint NOT NULL,
    seq bigint NOT NULL,
    upto timestamptz NOT NULL,
    CONSTRAINT pk_rolled PRIMARY KEY (market, rotation)
);
COMMENT ON TABLE rolled IS 'Of rotations with a rolling window: up to where turns were taken out again.';

-- In the order they are given numbers, decisions are in the order of time: a page tells its first and last.
CREATE INDEX ix_decisions_at ON decisions USING brin (at);

ALTER TABLE turns_owed DROP CONSTRAINT ck_turns_owed_effect,
    ADD CONSTRAINT ck_turns_owed_effect
        CHECK (effect IN ('return', 'penalise', 'give', 'take', 'count', 'repay', 'forget'));
ALTER TABLE corrections DROP CONSTRAINT ck_corrections_effect,
    ADD CONSTRAINT ck_corrections_effect
        CHECK (effect IN ('return', 'penalise', 'give', 'take', 'count', 'repay', 'forget'));

-- What was written is sealed in batches, each seal over the one before: docs/adr/20261122-seals.md.

CREATE TABLE seals (
    number bigint CONSTRAINT pk_seals PRIMARY KEY,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    columns text[] NOT NULL,
    key bytea NOT NULL,
    refs text[] NOT NULL,
    leaves bytea NOT NULL,
    root bytea NOT NULL,
    links bytea[] NOT NULL,
    head bytea NOT NULL,
    upto jsonb NOT NULL,
    low bigint NOT NULL,
    high bigint NOT NULL,
    removed_at timestamptz,
    CONSTRAINT ck_seals_kind CHECK (kind IN ('decisions', 'corrections', 'timeline', 'policies', 'audit'))
);
COMMENT ON TABLE seals IS 'Hashes over batches of rows, each over the seal before; rows are never changed.';
CREATE INDEX ix_seals_kind ON seals (kind, number);
CREATE INDEX ix_seals_high ON seals (kind, high);
CREATE INDEX ix_seals_kept ON seals (kind, number) WHERE removed_at IS NULL;

CREATE TRIGGER never_change
    BEFORE UPDATE OF number, kind, at, columns, key, refs, leaves, root, links, head OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE bases (
    market text CONSTRAINT pk_bases PRIMARY KEY,
    generation bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    books jsonb NOT NULL
);
COMMENT ON TABLE bases IS 'The fairness accounts as of the last decision or correction that was removed for its age.';

-- What is kept for so long only: whoever removes says so in its transaction, everybody else is refused as before.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME IN ('decisions', 'corrections', 'timeline')
       AND current_setting('fairturn.removes', true) = 'old' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        MESSAGE = 'rows of ' || TG_TABLE_NAME || ' are never changed',
        ERRCODE = 'restrict_violation',
        CONSTRAINT = TG_TABLE_NAME || '_never_change';
END $$;

-- Offers whose decision was removed follow from one all the same.
CREATE FUNCTION is_removed(market_ text, at_ timestamptz) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN EXISTS (SELECT FROM bases b WHERE b.market = market_ AND at_ <= b.at);

CREATE INDEX ix_events_old ON events (id) WHERE state = 'done';
CREATE INDEX ix_timeline_at ON timeline USING brin (at);
CREATE INDEX ix_leads_received ON leads (received_at, id);

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

CREATE TABLE removals (
    what text CONSTRAINT pk_removals PRIMARY KEY,
    before timestamptz NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE removals IS 'What was removed for its age, and up to which time.';

-- What follows from rows that were removed for their age is no breach.
DO $$
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW inv_offer_undecided AS SELECT v.* FROM ('
        || rtrim(pg_get_viewdef('inv_offer_undecided'::regclass), '; ') || ') v WHERE NOT EXISTS (
            SELECT FROM offers o JOIN bases b ON b.market = o.market
            WHERE o.id = substr(v.subject, 7)::uuid AND o.offered_at <= b.at)';
    EXECUTE 'CREATE OR REPLACE VIEW inv_offer_untold AS SELECT v.* FROM ('
        || rtrim(pg_get_viewdef('inv_offer_untold'::regclass), '; ') || ') v WHERE NOT EXISTS (
            SELECT FROM offers o JOIN removals r ON r.what = ''timeline''
            WHERE o.id = substr(v.subject, 7)::uuid AND o.offered_at <= r.before)';
END $$;

CREATE INDEX ix_events_old ON events (id) WHERE state = 'done';
CREATE INDEX ix_timeline_at ON timeline USING brin (at);
CREATE INDEX ix_notices_at ON notices USING brin (at);
CREATE INDEX ix_links_used_used_at ON links_used (used_at);
CREATE INDEX ix_leads_received ON leads (received_at, id);

-- When a lead last changed in Salesforce, as far as we have read: what the nightly comparison compares.
ALTER TABLE leads ADD COLUMN changed_at TIMESTAMP WITH TIME ZONE;
-- The coordinates Salesforce told last: heard again, they are no news.
ALTER TABLE leads ADD COLUMN told_lat DOUBLE PRECISION;
ALTER TABLE leads ADD COLUMN told_lon DOUBLE PRECISION;
-- When Salesforce was last asked for a lead that must be read again: others leave it alone meanwhile.
ALTER TABLE leads ADD COLUMN asked_at TIMESTAMP WITH TIME ZONE;
-- Since when this house knows a stream: leads of the time before are no business of the nightly comparison.
ALTER TABLE positions ADD COLUMN known_from TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL;
CREATE INDEX ix_leads_alive ON leads (salesforce_id text_pattern_ops) WHERE state NOT IN ('done', 'withdrawn');

-- Comparisons with Salesforce, and how far each has come: a process may die in the middle of one.
CREATE TABLE scans (
    kind TEXT NOT NULL,
    why TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE,
    asks BIGINT DEFAULT 1 NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    at TIMESTAMP WITH TIME ZONE,
    record TEXT DEFAULT '' NOT NULL,
    read BIGINT DEFAULT 0 NOT NULL,
    repaired BIGINT DEFAULT 0 NOT NULL,
    token UUID,
    lease_until TIMESTAMP WITH TIME ZONE,
    done_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_scans PRIMARY KEY (kind),
    CONSTRAINT ck_scans_kind CHECK (kind IN ('changed', 'all'))
);

COMMENT ON TABLE scans IS 'Comparisons with Salesforce, one row a kind, and how far each has come.';

-- How the way out to Salesforce is: whether the org is well, what its API calls of 24 hours come to.
CREATE TABLE gates (
    org TEXT NOT NULL,
    failures INTEGER DEFAULT 0 NOT NULL,
    open_until TIMESTAMP WITH TIME ZONE,
    probe_until TIMESTAMP WITH TIME ZONE,
    because TEXT DEFAULT '' NOT NULL,
    since TIMESTAMP WITH TIME ZONE,
    used INTEGER,
    allowed INTEGER,
    seen_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_gates PRIMARY KEY (org)
);

COMMENT ON TABLE gates IS 'One row an org: may it be called now, and how much of its API allowance is used.';

INSERT INTO gates (org) VALUES ('salesforce');

CREATE TABLE api_calls (
    org TEXT NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    purpose TEXT NOT NULL,
    calls BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_api_calls PRIMARY KEY (org, hour, purpose)
);

COMMENT ON TABLE api_calls IS 'Our own API calls, an hour a row.';

-- The lead's lane, so that the hottest go first; deaths: leases in a row that their process died with.
ALTER TABLE outbox ADD COLUMN lane SMALLINT DEFAULT 1 NOT NULL;
ALTER TABLE outbox ADD COLUMN deaths SMALLINT DEFAULT 0 NOT NULL;

DROP INDEX ix_outbox_pending;
CREATE INDEX ix_outbox_frees ON outbox (due_at) WHERE kind = 'turnstile' AND state = 'pending';
CREATE INDEX ix_outbox_writes ON outbox (lane, id) WHERE kind = 'salesforce' AND state = 'pending';

-- What was answered under an Idempotency-Key, so that the same request gets the same answer.

CREATE TABLE replays (
    caller text NOT NULL,
    key text NOT NULL,
    asked bytea NOT NULL,
    status smallint,
    body jsonb,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_replays PRIMARY KEY (caller, key)
);
COMMENT ON TABLE replays IS 'What was answered under an Idempotency-Key, kept for a day; never personal data.';
CREATE INDEX ix_replays_at ON replays (at);

CREATE INDEX ix_timeline_viewed ON timeline (lead_id, at) WHERE what = 'contact viewed';

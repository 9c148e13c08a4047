-- Lanes: 0 hot, 1 live, 2 bulk. Deaths and delays: how often handling a row ended a process, or was put off.
ALTER TABLE events ADD COLUMN lane SMALLINT DEFAULT '1' NOT NULL,
    ADD COLUMN deaths SMALLINT DEFAULT '0' NOT NULL,
    ADD CONSTRAINT ck_events_lane CHECK (lane BETWEEN 0 AND 2);
ALTER TABLE leads ADD COLUMN lane SMALLINT DEFAULT '1' NOT NULL,
    ADD COLUMN deaths SMALLINT DEFAULT '0' NOT NULL,
    ADD COLUMN delays SMALLINT DEFAULT '0' NOT NULL,
    ADD CONSTRAINT ck_leads_lane CHECK (lane BETWEEN 0 AND 2);

DROP INDEX ix_events_pending;
CREATE INDEX ix_events_pending ON events (lane, id) WHERE state = 'pending';
CREATE INDEX ix_leads_ready ON leads (lane, id)
    WHERE state = 'new' AND lat IS NOT NULL AND NOT dirty AND deaths = 0 AND delays = 0;
DROP INDEX ix_leads_woken;
CREATE INDEX ix_leads_woken ON leads (priority DESC, received_at, id)
    WHERE state = 'waiting' AND next_try_at IS NOT NULL;

-- What a process has begun and not ended. A row whose backend is gone tells of a death in the middle of it.
CREATE TABLE runs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    verb TEXT NOT NULL,
    rows BIGINT[] NOT NULL,
    backend INTEGER DEFAULT pg_backend_pid() NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_runs PRIMARY KEY (id),
    CONSTRAINT ck_runs_verb CHECK (verb IN ('intake', 'locate', 'route'))
);
COMMENT ON TABLE runs IS 'Batches that are being worked on, by ids of events (intake) or leads.';

-- A freed place finds its lead by cells of three sizes: those inside its reach by the large, the edge by the small.
CREATE INDEX ix_leads_waiting_quarter
    ON leads ((floor(lat * 4)::int * 2048 + floor(lon * 4)::int), priority DESC, received_at, id) WHERE state = 'waiting';
CREATE INDEX ix_leads_waiting_sixteenth
    ON leads ((floor(lat * 16)::int * 8192 + floor(lon * 16)::int), priority DESC, received_at, id) WHERE state = 'waiting';
CREATE INDEX ix_leads_waiting_first ON leads (priority DESC, received_at, id) WHERE state = 'waiting';

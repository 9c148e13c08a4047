-- What a decision was made from besides its candidates.
ALTER TABLE decisions
    ADD COLUMN rule text NOT NULL DEFAULT '',
    ADD COLUMN inputs jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN units integer NOT NULL DEFAULT 1,
    ADD COLUMN turn bigint NOT NULL DEFAULT 1000000;

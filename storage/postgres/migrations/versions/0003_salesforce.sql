-- What people do in Salesforce is heard here, and every step of an offer is shown there.

CREATE INDEX ix_offers_of_lead ON offers (lead_id);

ALTER TABLE leads ADD COLUMN stage text NOT NULL DEFAULT '';

ALTER TABLE members
    ADD COLUMN left_at timestamptz,
    ADD COLUMN watched_id text;

ALTER TABLE outbox
    DROP CONSTRAINT ck_outbox_kind,
    ADD CONSTRAINT ck_outbox_kind CHECK (kind IN ('salesforce', 'turnstile', 'offer'));
CREATE INDEX ix_outbox_offers ON outbox (due_at) WHERE kind = 'offer' AND state = 'pending';

CREATE TABLE edits (
    id bigint GENERATED ALWAYS AS IDENTITY,
    lead_id bigint NOT NULL,
    offer_id uuid NOT NULL,
    asked text NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    shown boolean NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    refused text,
    CONSTRAINT pk_edits PRIMARY KEY (id),
    CONSTRAINT fk_edits_lead_id FOREIGN KEY (lead_id) REFERENCES leads (id)
);
COMMENT ON TABLE edits IS 'Answers that people gave in Salesforce; kept once they were carried out or refused.';
CREATE INDEX ix_edits_pending ON edits (id) WHERE done_at IS NULL;

CREATE TABLE watches (
    object text NOT NULL,
    seen_to timestamptz NOT NULL,
    looked_at timestamptz NOT NULL,
    CONSTRAINT pk_watches PRIMARY KEY (object)
);
COMMENT ON TABLE watches IS 'How far we have looked who became inactive in Salesforce, by object.';

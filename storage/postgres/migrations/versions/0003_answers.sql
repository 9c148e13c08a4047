-- Offers have a life of their own: answered, reminded, worked on, one of several at once.

ALTER TABLE members
    ADD COLUMN present boolean NOT NULL DEFAULT true,
    ADD COLUMN auto_accept boolean NOT NULL DEFAULT false,
    ADD COLUMN notices bigint NOT NULL DEFAULT 0;

ALTER TABLE leads ADD COLUMN moves integer NOT NULL DEFAULT 0;
UPDATE leads SET moves = attempt - 1 WHERE attempt > 1;

ALTER TABLE offers
    ADD COLUMN kind text NOT NULL DEFAULT 'turn',
    ADD COLUMN slot smallint NOT NULL DEFAULT 0,
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN actor text NOT NULL DEFAULT 'fairturn',
    ADD COLUMN person_id uuid,
    ADD COLUMN assignee_id uuid,
    ADD COLUMN remind_at timestamptz,
    ADD COLUMN reminded smallint NOT NULL DEFAULT 0,
    ADD COLUMN accepted_at timestamptz,
    ADD COLUMN worked_at timestamptz,
    ADD COLUMN work_by timestamptz,
    ADD COLUMN extensions smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT ck_offers_kind CHECK (kind IN ('turn', 'second', 'open', 'manual')),
    ADD CONSTRAINT ck_offers_slot CHECK (slot BETWEEN 0 AND 9);

DROP INDEX uq_offers_one_open_per_lead;
CREATE UNIQUE INDEX uq_offers_one_open_per_lead ON offers (lead_id, slot) WHERE state IN ('offered', 'accepted');
CREATE UNIQUE INDEX uq_offers_one_acceptor ON offers (lead_id) WHERE state = 'accepted';
DROP INDEX uq_offers_never_the_same_member_twice;
CREATE UNIQUE INDEX uq_offers_never_the_same_member_twice ON offers (lead_id, member_id)
    WHERE state <> 'void' AND kind = 'turn';
CREATE INDEX ix_offers_remind ON offers (remind_at) WHERE remind_at IS NOT NULL;
CREATE INDEX ix_offers_work_by ON offers (work_by) WHERE state = 'accepted';
CREATE INDEX ix_offers_of_member ON offers (member_id, offered_at);

CREATE TABLE notices (
    member_id integer NOT NULL,
    number bigint NOT NULL,
    offer_id uuid NOT NULL,
    lead_id bigint NOT NULL,
    what text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fanned_at timestamptz,
    CONSTRAINT pk_notices PRIMARY KEY (member_id, number),
    CONSTRAINT fk_notices_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE
);
COMMENT ON TABLE notices IS 'What each member is told, ids only; the live stream reads it, deliveries are made from it.';
CREATE INDEX ix_notices_to_fan ON notices (at) WHERE fanned_at IS NULL;

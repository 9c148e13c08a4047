-- The ladder of attempts, second chances, and leads that are open to whoever let them expire.

ALTER TABLE leads
    ADD COLUMN rung smallint,
    ADD COLUMN open_until timestamptz;
CREATE INDEX ix_leads_open_until ON leads (open_until) WHERE state = 'waiting' AND reason = 'open_pool';

CREATE TABLE chances (
    lead_id bigint NOT NULL,
    member_id integer NOT NULL,
    offer_id uuid NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz,
    CONSTRAINT pk_chances PRIMARY KEY (lead_id, member_id),
    CONSTRAINT fk_chances_lead_id_leads FOREIGN KEY (lead_id) REFERENCES leads (id) ON DELETE CASCADE,
    CONSTRAINT fk_chances_member_id_members FOREIGN KEY (member_id) REFERENCES members (id),
    CONSTRAINT fk_chances_offer_id_offers FOREIGN KEY (offer_id) REFERENCES offers (id) ON DELETE CASCADE
);
COMMENT ON TABLE chances IS 'Members who let an offer expire and ask for another, the first first.';

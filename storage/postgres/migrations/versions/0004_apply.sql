-- What rules make of leads: baskets, what was released, what is waited for, and an order of their own.

ALTER TABLE leads
    ADD COLUMN rank bigint NOT NULL DEFAULT 0,
    ADD COLUMN score bigint,
    ADD COLUMN rule text NOT NULL DEFAULT '',
    ADD COLUMN basket text,
    ADD COLUMN ruled jsonb NOT NULL DEFAULT '{}';
UPDATE leads SET rank = priority WHERE priority <> 0;

DROP INDEX ix_leads_waiting, ix_leads_waiting_quarter, ix_leads_waiting_sixteenth, ix_leads_waiting_first,
           ix_leads_woken;
CREATE INDEX ix_leads_waiting ON leads (cell, rank DESC, received_at, id) WHERE state = 'waiting';
CREATE INDEX ix_leads_waiting_quarter
    ON leads ((floor(lat * 4)::int * 2048 + floor(lon * 4)::int), rank DESC, received_at, id) WHERE state = 'waiting';
CREATE INDEX ix_leads_waiting_sixteenth
    ON leads ((floor(lat * 16)::int * 8192 + floor(lon * 16)::int), rank DESC, received_at, id)
    WHERE state = 'waiting';
CREATE INDEX ix_leads_waiting_first ON leads (rank DESC, received_at, id) WHERE state = 'waiting';
CREATE INDEX ix_leads_woken ON leads (rank DESC, received_at, id) WHERE state = 'waiting' AND next_try_at IS NOT NULL;
CREATE INDEX ix_leads_basket ON leads (basket, rank DESC, received_at, id) WHERE basket IS NOT NULL;
CREATE INDEX ix_leads_quarantined ON leads (id) WHERE state = 'review' AND reason = 'quarantined';
CREATE INDEX ix_leads_scored ON leads (id) WHERE score IS NOT NULL;

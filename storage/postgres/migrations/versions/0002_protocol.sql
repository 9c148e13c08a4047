-- Who decides, and what the continuous check of the invariants found last.

-- Set while the turnstile is away: the ledger decides alone, under a generation of its own.
ALTER TABLE markets ADD COLUMN alone_since timestamptz;

CREATE TABLE invariants (
    name text PRIMARY KEY,
    violations bigint NOT NULL,
    examples jsonb NOT NULL DEFAULT '[]',
    checked_at timestamptz NOT NULL,
    whole_at timestamptz NOT NULL,
    took_ms real NOT NULL
);
COMMENT ON TABLE invariants IS 'What must never be, and how often it was seen when last looked at; ids only.';

-- The views over all of history also say when: so that those that take long are looked at from their last check on, and
-- wholly once a night.

CREATE OR REPLACE VIEW inv_chosen_while_full AS
SELECT 'decision ' || id AS subject, 'member ' || chosen || ' was not eligible' AS detail, at
FROM decisions
WHERE chosen IS NOT NULL
  AND (array_position(member, chosen) IS NULL
       OR gate[array_position(member, chosen)] <> 0
       OR open[array_position(member, chosen)] >= capacity[array_position(member, chosen)]);

CREATE OR REPLACE VIEW inv_choice_without_offer AS
SELECT 'decision ' || d.id AS subject, 'chose member ' || d.chosen || ', no offer followed' AS detail, d.at
FROM decisions d
WHERE d.chosen IS NOT NULL AND NOT EXISTS (SELECT FROM offers o WHERE o.id = d.id AND o.state <> 'void');

CREATE OR REPLACE VIEW inv_offer_undecided AS
SELECT 'offer ' || o.id AS subject,
       CASE WHEN d.id IS NULL THEN 'has no decision' ELSE 'differs from its decision' END AS detail,
       o.offered_at AS at
FROM offers o LEFT JOIN decisions d ON d.id = o.id
WHERE o.state <> 'void'
  AND (d.id IS NULL OR (d.lead_id, d.attempt, d.chosen) IS DISTINCT FROM (o.lead_id, o.attempt, o.member_id));

CREATE OR REPLACE VIEW inv_expired_early AS
SELECT 'offer ' || id AS subject, 'expired ' || expires_at - ended_at || ' early' AS detail, ended_at AS at
FROM offers WHERE state = 'expired' AND ended_at < expires_at;

CREATE OR REPLACE VIEW inv_never_written AS
SELECT 'lead ' || l.id AS subject, 'version ' || l.version || ' was never queued for Salesforce' AS detail, l.updated_at AS at
FROM leads l
WHERE l.state IN ('waiting', 'offered', 'accepted', 'done', 'review')
  AND NOT EXISTS (SELECT FROM outbox x
                  WHERE x.lead_id = l.id AND x.kind = 'salesforce' AND x.version >= l.version);

CREATE OR REPLACE VIEW inv_never_freed AS
SELECT 'offer ' || o.id AS subject, 'is ' || o.state || ', its place was never queued to be freed' AS detail,
       o.ended_at AS at
FROM offers o
WHERE o.state NOT IN ('offered', 'accepted', 'void')
  AND NOT EXISTS (SELECT FROM outbox x
                  WHERE x.lead_id = o.lead_id AND x.kind = 'turnstile' AND x.offer_id = o.id);

CREATE OR REPLACE VIEW inv_offer_untold AS
SELECT 'offer ' || o.id AS subject, 'its timeline does not say that it was ' || step.what AS detail,
       coalesce(o.ended_at, o.offered_at) AS at
FROM offers o
CROSS JOIN LATERAL (VALUES ('offered'), (o.state)) AS step (what)
WHERE o.state <> 'void'
  AND NOT EXISTS (SELECT FROM timeline t
                  WHERE t.lead_id = o.lead_id AND t.what = step.what AND t.detail ->> 'offer' = o.id::text);

CREATE OR REPLACE VIEW inv_lead_without_offer AS
SELECT 'lead ' || l.id AS subject, 'is ' || l.state || ', no offer is' AS detail, l.updated_at AS at
FROM leads l
WHERE l.state IN ('offered', 'accepted')
  AND NOT EXISTS (SELECT FROM offers o WHERE o.lead_id = l.id AND o.state = l.state);

CREATE OR REPLACE VIEW inv_no_reason AS
SELECT 'lead ' || id AS subject, 'is ' || state || ' for no reason' AS detail, updated_at AS at
FROM leads WHERE (state IN ('waiting', 'review', 'withdrawn')) <> (coalesce(reason, '') <> '');

CREATE VIEW inv_outside_area AS
SELECT 'offer ' || id AS subject, round(distance_m) || ' m away, in a ring of ' || round(ring_m) || ' m' AS detail,
       offered_at AS at
FROM offers WHERE state <> 'void' AND distance_m > ring_m + 2;

COMMENT ON VIEW inv_two_open_offers IS 'No lead has two open offers.';
COMMENT ON VIEW inv_repeat_member IS 'No lead is offered twice to the same member.';
COMMENT ON VIEW inv_attempt_twice IS 'No attempt of a lead has two offers.';
COMMENT ON VIEW inv_open_miscounted IS 'Each member''s count of open offers is the number it holds.';
COMMENT ON VIEW inv_over_capacity IS 'Nobody holds more open offers than its capacity.';
COMMENT ON VIEW inv_chosen_while_full IS 'Whoever was chosen had room at that moment.';
COMMENT ON VIEW inv_lead_without_offer IS 'Every offered lead has its offer.';
COMMENT ON VIEW inv_offer_without_lead IS 'Every open offer has its lead.';
COMMENT ON VIEW inv_no_reason IS 'Every lead that waits, is in review or withdrawn says why.';
COMMENT ON VIEW inv_offer_undecided IS 'Every offer follows from a decision that can be made again.';
COMMENT ON VIEW inv_choice_without_offer IS 'Every choice became an offer.';
COMMENT ON VIEW inv_too_many_attempts IS 'No lead is offered more often than the policy allows.';
COMMENT ON VIEW inv_expired_early IS 'No offer expires before its deadline.';
COMMENT ON VIEW inv_never_written IS 'Every change of a lead is told to Salesforce.';
COMMENT ON VIEW inv_never_freed IS 'Every ended offer gives its place back.';
COMMENT ON VIEW inv_offer_untold IS 'Every offer and its end stand in the lead''s timeline.';
COMMENT ON VIEW inv_outside_area IS 'No offer goes to a member outside the ring it was made in.';

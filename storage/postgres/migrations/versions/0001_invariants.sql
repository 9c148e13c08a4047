-- What must never be seen. Each view is empty in a sound ledger; a row says what is wrong (subject) and how (detail).

CREATE VIEW inv_two_open_offers AS
SELECT 'lead ' || lead_id AS subject, count(*) || ' open offers' AS detail
FROM offers WHERE state IN ('offered', 'accepted')
GROUP BY lead_id HAVING count(*) > 1;

CREATE VIEW inv_repeat_member AS
SELECT 'lead ' || lead_id AS subject, 'offered ' || count(*) || ' times to member ' || member_id AS detail
FROM offers WHERE state <> 'void'
GROUP BY lead_id, member_id HAVING count(*) > 1;

CREATE VIEW inv_attempt_twice AS
SELECT 'lead ' || lead_id AS subject, count(*) || ' offers of attempt ' || attempt AS detail
FROM offers WHERE state <> 'void'
GROUP BY lead_id, attempt HAVING count(*) > 1;

CREATE VIEW inv_open_miscounted AS
SELECT 'member ' || m.id AS subject, 'counts ' || m.open || ', holds ' || coalesce(o.held, 0) AS detail
FROM members m
LEFT JOIN (SELECT member_id, count(*) AS held FROM offers WHERE state IN ('offered', 'accepted') GROUP BY member_id) o
    ON o.member_id = m.id
WHERE m.open <> coalesce(o.held, 0);

-- A capacity that was lowered below what is held is no breach: an offer may stand by the capacity it was decided with.
CREATE VIEW inv_over_capacity AS
SELECT 'member ' || h.member_id AS subject, 'holds ' || h.held || ', room for ' || h.room AS detail
FROM (
    SELECT o.member_id, count(*) AS held,
           greatest(max(coalesce(m.capacity, t.capacity, d0.capacity, 0)),
                    max(d.capacity[array_position(d.member, d.chosen)])) AS room
    FROM offers o
    JOIN members m ON m.id = o.member_id
    LEFT JOIN tiers t ON t.name = m.tier
    LEFT JOIN tiers d0 ON d0.name = ''
    LEFT JOIN decisions d ON d.id = o.id
    WHERE o.state IN ('offered', 'accepted')
    GROUP BY o.member_id
) h
WHERE h.held > h.room;

CREATE VIEW inv_chosen_while_full AS
SELECT 'decision ' || id AS subject, 'member ' || chosen || ' was not eligible' AS detail
FROM decisions
WHERE chosen IS NOT NULL
  AND (array_position(member, chosen) IS NULL
       OR gate[array_position(member, chosen)] <> 0
       OR open[array_position(member, chosen)] >= capacity[array_position(member, chosen)]);

CREATE VIEW inv_lead_without_offer AS
SELECT 'lead ' || l.id AS subject, 'is ' || l.state || ', no offer is' AS detail
FROM leads l
WHERE l.state IN ('offered', 'accepted')
  AND NOT EXISTS (SELECT FROM offers o WHERE o.lead_id = l.id AND o.state = l.state);

CREATE VIEW inv_offer_without_lead AS
SELECT 'offer ' || o.id AS subject, 'is ' || o.state || ', lead ' || l.id || ' is ' || l.state AS detail
FROM offers o JOIN leads l ON l.id = o.lead_id
WHERE o.state IN ('offered', 'accepted') AND l.state <> o.state;

CREATE VIEW inv_no_reason AS
SELECT 'lead ' || id AS subject, 'is ' || state || ' for no reason' AS detail
FROM leads WHERE (state IN ('waiting', 'review', 'withdrawn')) <> (coalesce(reason, '') <> '');

CREATE VIEW inv_offer_undecided AS
SELECT 'offer ' || o.id AS subject,
       CASE WHEN d.id IS NULL THEN 'has no decision' ELSE 'differs from its decision' END AS detail
FROM offers o LEFT JOIN decisions d ON d.id = o.id
WHERE o.state <> 'void'
  AND (d.id IS NULL OR (d.lead_id, d.attempt, d.chosen) IS DISTINCT FROM (o.lead_id, o.attempt, o.member_id));

CREATE VIEW inv_choice_without_offer AS
SELECT 'decision ' || d.id AS subject, 'chose member ' || d.chosen || ', no offer followed' AS detail
FROM decisions d
WHERE d.chosen IS NOT NULL AND NOT EXISTS (SELECT FROM offers o WHERE o.id = d.id AND o.state <> 'void');

CREATE VIEW inv_too_many_attempts AS
SELECT 'lead ' || a.lead_id AS subject, 'offer ' || a.attempt || ' of at most ' || a.most AS detail
FROM (
    SELECT o.lead_id, o.attempt,
           1 + coalesce((SELECT (pool ->> 'reassignments')::int
                         FROM policies p, jsonb_path_query(p.document, '$.pools[*]') pool
                         WHERE p.version = d.policy_version AND pool ->> 'name' = d.pool LIMIT 1), 3) AS most
    FROM offers o JOIN decisions d ON d.id = o.id
    WHERE o.state <> 'void' AND o.attempt > 1
) a
WHERE a.attempt > a.most;

CREATE VIEW inv_expired_early AS
SELECT 'offer ' || id AS subject, 'expired ' || expires_at - ended_at || ' early' AS detail
FROM offers WHERE state = 'expired' AND ended_at < expires_at;

CREATE VIEW inv_never_written AS
SELECT 'lead ' || l.id AS subject, 'version ' || l.version || ' was never queued for Salesforce' AS detail
FROM leads l
WHERE l.state IN ('waiting', 'offered', 'accepted', 'done', 'review')
  AND NOT EXISTS (SELECT FROM outbox x
                  WHERE x.lead_id = l.id AND x.kind = 'salesforce' AND x.version >= l.version);

CREATE VIEW inv_never_freed AS
SELECT 'offer ' || o.id AS subject, 'is ' || o.state || ', its place was never queued to be freed' AS detail
FROM offers o
WHERE o.state NOT IN ('offered', 'accepted', 'void')
  AND NOT EXISTS (SELECT FROM outbox x
                  WHERE x.lead_id = o.lead_id AND x.kind = 'turnstile' AND x.offer_id = o.id);

CREATE VIEW inv_offer_untold AS
SELECT 'offer ' || o.id AS subject, 'its timeline does not say that it was ' || step.what AS detail
FROM offers o
CROSS JOIN LATERAL (VALUES ('offered'), (o.state)) AS step (what)
WHERE o.state <> 'void'
  AND NOT EXISTS (SELECT FROM timeline t
                  WHERE t.lead_id = o.lead_id AND t.what = step.what AND t.detail ->> 'offer' = o.id::text);

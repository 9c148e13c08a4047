-- What must never be seen, now that offers are answered: members may be asked at once, and reassignments are counted.

CREATE OR REPLACE VIEW inv_two_open_offers AS
SELECT 'lead ' || lead_id AS subject,
       count(*) || ' open offers' AS detail
FROM offers WHERE state IN ('offered', 'accepted')
GROUP BY lead_id
HAVING count(*) > count(DISTINCT slot)
    OR count(*) FILTER (WHERE state = 'accepted') > CASE WHEN count(*) = 1 THEN 1 ELSE 0 END;

CREATE OR REPLACE VIEW inv_repeat_member AS
SELECT 'lead ' || lead_id AS subject, 'offered ' || count(*) || ' times to member ' || member_id AS detail
FROM offers WHERE state <> 'void' AND kind = 'turn'
GROUP BY lead_id, member_id HAVING count(*) > 1;

CREATE OR REPLACE VIEW inv_attempt_twice AS
SELECT 'lead ' || lead_id AS subject, count(*) || ' offers of attempt ' || attempt AS detail
FROM offers WHERE state <> 'void' AND kind IN ('turn', 'second')
GROUP BY lead_id, attempt, slot HAVING count(*) > 1;

-- What a person gives by hand may pass a capacity, and no decision chose it.
CREATE OR REPLACE VIEW inv_over_capacity AS
SELECT 'member ' || h.member_id AS subject, 'holds ' || h.held || ', room for ' || h.room AS detail
FROM (
    SELECT o.member_id, count(*) FILTER (WHERE o.kind <> 'manual') AS held,
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

CREATE OR REPLACE VIEW inv_offer_undecided AS
SELECT 'offer ' || o.id AS subject,
       CASE WHEN d.id IS NULL THEN 'has no decision' ELSE 'differs from its decision' END AS detail,
       o.offered_at AS at
FROM offers o LEFT JOIN decisions d ON d.id = o.id
WHERE o.state <> 'void'
  AND CASE WHEN d.id IS NULL THEN o.kind = 'turn'
           ELSE (d.lead_id, d.attempt, d.chosen) IS DISTINCT FROM (o.lead_id, o.attempt, o.member_id) END;

-- By the policy's limit at the time of the offer; those that do not count are counted by the leads' `moves` only.
CREATE OR REPLACE VIEW inv_too_many_attempts AS
SELECT 'lead ' || a.lead_id AS subject, 'offer ' || a.number || ' of at most ' || a.most AS detail
FROM (
    SELECT o.lead_id,
           1 + (SELECT count(*) FROM offers b
                WHERE b.lead_id = o.lead_id AND b.attempt < o.attempt AND b.kind = 'turn'
                  AND b.slot = o.slot
                  AND (b.state IN ('rejected', 'returned') OR b.state = 'expired' AND coalesce(p.expiry_counts, true)))
               AS number,
           1 + coalesce(p.reassignments, 3) AS most
    FROM offers o
    JOIN decisions d ON d.id = o.id
    LEFT JOIN LATERAL (
        SELECT (pool ->> 'reassignments')::int AS reassignments,
               (pool -> 'answers' ->> 'expiry_counts')::boolean AS expiry_counts
        FROM policies p, jsonb_path_query(p.document, '$.pools[*]') pool
        WHERE p.version = d.policy_version AND pool ->> 'name' = d.pool LIMIT 1
    ) p ON true
    WHERE o.state <> 'void' AND o.kind = 'turn' AND o.attempt > 1
) a
WHERE a.number > a.most;

-- Nobody accepts what is over, and an acceptance is never lost.
CREATE VIEW inv_accepted_late AS
SELECT 'offer ' || id AS subject, 'was accepted ' || accepted_at - expires_at || ' late' AS detail, accepted_at AS at
FROM offers WHERE kind = 'turn' AND accepted_at >= expires_at;

CREATE VIEW inv_accepted_never AS
SELECT 'offer ' || id AS subject, 'is ' || state || ', and was never accepted' AS detail,
       coalesce(ended_at, offered_at) AS at
FROM offers WHERE state IN ('accepted', 'completed', 'lost', 'returned') AND accepted_at IS NULL;

-- Who has read a member's notices up to a number has missed nothing before it; old ones may have been cleared away.
CREATE VIEW inv_notice_missing AS
SELECT 'member ' || m.id AS subject, 'has ' || count(n.number) || ' notices, the last is ' || m.notices AS detail
FROM members m LEFT JOIN notices n ON n.member_id = m.id
GROUP BY m.id, m.notices
HAVING max(n.number) <> m.notices OR count(n.number) <> max(n.number) - min(n.number) + 1;

COMMENT ON VIEW inv_two_open_offers IS 'No lead has two open offers, but where several members are asked at once.';
COMMENT ON VIEW inv_repeat_member IS 'No lead is offered twice to the same member in its turn.';
COMMENT ON VIEW inv_accepted_late IS 'No offer is accepted after its deadline.';
COMMENT ON VIEW inv_accepted_never IS 'What counts as accepted was accepted.';
COMMENT ON VIEW inv_notice_missing IS 'No notice of a member is missing between two others.';

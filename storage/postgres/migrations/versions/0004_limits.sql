-- A lead weighs units of capacity: an offer takes them of its member's, and `members.open` counts them.
ALTER TABLE offers ADD COLUMN units integer NOT NULL DEFAULT 1 CONSTRAINT ck_offers_units CHECK (units > 0);
ALTER TABLE leads ADD COLUMN units integer NOT NULL DEFAULT 1;

CREATE OR REPLACE VIEW inv_open_miscounted AS
SELECT 'member ' || m.id AS subject, 'counts ' || m.open || ', holds ' || coalesce(o.held, 0) AS detail
FROM members m
LEFT JOIN (
    SELECT member_id, sum(units) AS held FROM offers WHERE state IN ('offered', 'accepted') GROUP BY member_id
) o ON o.member_id = m.id
WHERE m.open <> coalesce(o.held, 0);

CREATE OR REPLACE VIEW inv_over_capacity AS
SELECT 'member ' || h.member_id AS subject, 'holds ' || h.held || ', room for ' || h.room AS detail
FROM (
    SELECT o.member_id, coalesce(sum(o.units) FILTER (WHERE o.kind <> 'manual'), 0) AS held,
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

CREATE OR REPLACE VIEW inv_chosen_while_full AS
SELECT 'decision ' || id AS subject, 'member ' || chosen || ' was not eligible' AS detail, at
FROM decisions
WHERE chosen IS NOT NULL
  AND (array_position(member, chosen) IS NULL
       OR gate[array_position(member, chosen)] <> 0
       OR open[array_position(member, chosen)] + units > capacity[array_position(member, chosen)]);

CREATE OR REPLACE VIEW inv_offer_undecided AS
SELECT 'offer ' || o.id AS subject,
       CASE WHEN d.id IS NULL THEN 'has no decision' ELSE 'differs from its decision' END AS detail,
       o.offered_at AS at
FROM offers o LEFT JOIN decisions d ON d.id = o.id
WHERE o.state <> 'void'
  AND CASE WHEN d.id IS NULL THEN o.kind = 'turn'
           ELSE (d.lead_id, d.attempt, d.chosen, d.units)
                IS DISTINCT FROM (o.lead_id, o.attempt, o.member_id, o.units) END;

COMMENT ON VIEW inv_open_miscounted IS 'Each member''s count of open offers is the units it holds.';

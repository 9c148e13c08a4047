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

-- Limits: what stopped whom, what an offer counts in, and what is used.
ALTER TABLE decisions ADD COLUMN stops jsonb NOT NULL DEFAULT '{}', ADD COLUMN uses jsonb NOT NULL DEFAULT '[]';
ALTER TABLE offers ADD COLUMN counts_kept boolean NOT NULL DEFAULT false;

CREATE TABLE quota_uses (
    market text NOT NULL,
    counter text NOT NULL,
    bucket integer NOT NULL,
    buckets integer NOT NULL,
    used integer NOT NULL CONSTRAINT ck_quota_uses_used CHECK (used >= 0),
    until timestamptz NOT NULL,
    PRIMARY KEY (market, counter, bucket)
);
COMMENT ON TABLE quota_uses IS 'What is used of limits; the turnstile''s own counters are made again from it.';
CREATE INDEX ix_decisions_limited ON decisions (at) WHERE uses <> '[]';

-- A share is of a whole that grows: what it was at that moment, the turnstile said.
CREATE VIEW inv_over_limit AS
SELECT 'decision ' || d.id AS subject,
       (u ->> 0) || ': ' || (u ->> 5) || ' of ' || (u ->> 6) || ' were used, ' || d.units || ' more given' AS detail, d.at
FROM decisions d CROSS JOIN LATERAL jsonb_array_elements(d.uses) u
WHERE d.uses <> '[]' AND (u ->> 5)::bigint + d.units > (u ->> 6)::bigint;
COMMENT ON VIEW inv_over_limit IS 'No offer passes a limit.';

-- What is counted of a bucket is the units of the offers that count in it, but for those that limits of what is kept
-- were given back.
CREATE VIEW inv_quota_miscounted AS
SELECT 'limit ' || coalesce(q.counter, m.counter) || ' of ' || coalesce(q.market, m.market) AS subject,
       'bucket ' || coalesce(q.bucket, m.bucket) || ' counts ' || coalesce(q.used, 0) || ', holds '
           || coalesce(m.units, 0) AS detail
FROM quota_uses q
FULL JOIN (
    SELECT d.market, u ->> 1 AS counter, (u ->> 2)::int AS bucket, sum(d.units) AS units,
           max(d.at + make_interval(secs => (u ->> 4)::int)) AS until
    FROM decisions d
    JOIN offers o ON o.id = d.id AND o.state <> 'void'
    CROSS JOIN LATERAL jsonb_array_elements(d.uses) u
    WHERE d.uses <> '[]' AND d.at + 2 * make_interval(secs => (u ->> 4)::int) > clock_timestamp()
      AND NOT (starts_with(u ->> 1, 'kept/') AND o.state IN ('rejected', 'expired', 'withdrawn'))
    GROUP BY 1, 2, 3
) m USING (market, counter, bucket)
WHERE coalesce(q.used, 0) <> coalesce(m.units, 0)
  AND coalesce(q.until, m.until) > clock_timestamp() + interval '1 minute';
COMMENT ON VIEW inv_quota_miscounted IS 'What is used of each limit is the units of the offers that count in it.';

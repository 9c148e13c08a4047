-- Corrections change what is due, so the bound of a rotation has what they added while it was not made good.
ALTER TABLE fairness_rotations
    ADD COLUMN other bigint NOT NULL DEFAULT 0,
    ADD COLUMN added bigint NOT NULL DEFAULT 0,
    ADD COLUMN most_added bigint NOT NULL DEFAULT 0;

-- Of what was followed before, all that corrections gave; the next correction finds how much of it is still open.
UPDATE fairness_rotations r
SET added = c.given, most_added = c.given
FROM (
    SELECT market, rotation, sum(greatest(one.delta, 0)) AS given
    FROM corrections, unnest(delta) AS one (delta)
    GROUP BY market, rotation
) c
WHERE (c.market, c.rotation) = (r.market, r.rotation);

UPDATE fairness_rotations r
SET other = d.number
FROM (
    SELECT market, rotation, count(*) AS number FROM decisions
    WHERE mode <> 'fair' AND chosen IS NOT NULL GROUP BY market, rotation
) d
WHERE (d.market, d.rotation) = (r.market, r.rotation);

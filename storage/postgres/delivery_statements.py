"""The statements of deliveries. Claims go one at a time, under a lock of their own."""

import sqlalchemy as sa

__all__ = [
    "CLAIM",
    "DISABLE",
    "DUE",
    "END",
    "ENDPOINTS",
    "ENDPOINT_FAILED",
    "ENDPOINT_WELL",
    "FORGET_DEVICE",
    "LETTER",
    "LOCK",
    "MAKE_OUT",
    "NEXT_STEP",
    "OPENED",
    "REACHES",
    "RETRY",
    "TAKE_NOTICES",
]

DUE = sa.text("""
    SELECT EXISTS (SELECT FROM notices WHERE fanned_at IS NULL)
        OR EXISTS (SELECT FROM deliveries
                   WHERE state = 'pending' AND due_at <= clock_timestamp()
                     AND (lease_until IS NULL OR lease_until <= clock_timestamp()))
""")

TAKE_NOTICES = sa.text("""
    WITH next AS MATERIALIZED (
        SELECT member_id, number FROM notices WHERE fanned_at IS NULL ORDER BY at LIMIT :limit FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE notices n SET fanned_at = clock_timestamp() FROM next
        WHERE n.member_id = next.member_id AND n.number = next.number
        RETURNING n.member_id, n.number, n.what, n.offer_id, n.lead_id, n.at
    )
    SELECT taken.*, o.expires_at, o.work_by, l.open_until, o.assignee_id, coalesce(l.lane, 1) AS lane,
           clock_timestamp() AS now
    FROM taken LEFT JOIN offers o ON o.id = taken.offer_id LEFT JOIN leads l ON l.id = taken.lead_id
    ORDER BY taken.at, taken.number
""")
ENDPOINTS = sa.text("""
    SELECT member_id, id FROM endpoints WHERE member_id = ANY(CAST(:members AS int[])) AND state = 'active'
""")
REACHES = sa.text("""
    SELECT p.member_id, p.id, p.email, p.phone, p.time_zone, p.quiet_from, p.quiet_to, w.channels,
           ARRAY(SELECT d.id FROM devices d WHERE d.person_id = p.id ORDER BY d.created_at, d.id) AS devices
    FROM people p LEFT JOIN contact_wishes w ON w.person_id = p.id
    WHERE p.member_id = ANY(CAST(:members AS int[])) AND p.active
""")
MAKE_OUT = sa.text("""
    INSERT INTO deliveries (member_id, number, what, offer_id, lead_id, channel, target, person_id, step, due_at, until,
                            state, why, done_at)
    SELECT member_id, number, what, offer_id, lead_id, channel, target, person_id, step, due_at, until, state, why,
           CASE WHEN state <> 'pending' THEN clock_timestamp() END
    FROM unnest(CAST(:members AS int[]), CAST(:numbers AS bigint[]), CAST(:whats AS text[]), CAST(:offers AS uuid[]),
                CAST(:leads AS bigint[]), CAST(:channels AS text[]), CAST(:targets AS uuid[]), CAST(:people AS uuid[]),
                CAST(:steps AS smallint[]), CAST(:dues AS timestamptz[]), CAST(:untils AS timestamptz[]),
                CAST(:states AS text[]), CAST(:whys AS text[]))
         AS x (member_id, number, what, offer_id, lead_id, channel, target, person_id, step, due_at, until, state, why)
    ON CONFLICT (member_id, number, channel, target) DO NOTHING
""")
LETTER = sa.text("""
    INSERT INTO deliveries (member_id, what, channel, target, person_id, sealed, until)
    SELECT p.member_id, :what, 'email', p.id, p.id, :sealed, clock_timestamp() + make_interval(secs => :lives)
    FROM people p WHERE p.id = :person AND p.active
""")

LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('fairturn:deliveries'))")
# flying: what is under way, by target. due: what could go, without targets that have enough, and endpoints at rest.
CLAIM = sa.text("""
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
    flying AS MATERIALIZED (
        SELECT d.channel, d.target, count(*) AS n FROM deliveries d, clock
        WHERE d.state = 'pending' AND d.lease_until IS NOT NULL AND d.lease_until > clock.now
        GROUP BY d.channel, d.target
    ), due AS MATERIALIZED (
        SELECT d.id, d.channel, d.target, d.due_at, coalesce(flying.n, 0) AS n
        FROM clock, deliveries d
        LEFT JOIN flying ON flying.channel = d.channel AND flying.target = d.target
        LEFT JOIN endpoints e ON d.channel = 'webhook' AND e.id = d.target
        WHERE d.state = 'pending' AND d.due_at <= clock.now
          AND (d.lease_until IS NULL OR d.lease_until <= clock.now)
          AND coalesce(flying.n, 0) < :each AND (e.rests_until IS NULL OR e.rests_until <= clock.now)
        ORDER BY d.due_at, d.id LIMIT :look
    ), ranked AS (
        SELECT id, due_at, channel,
               n + row_number() OVER (PARTITION BY channel, target ORDER BY due_at, id) AS place,
               row_number() OVER (PARTITION BY channel IN ('sms', 'email') ORDER BY due_at, id) AS of_its_kind
        FROM due
    ), chosen AS (
        SELECT id FROM ranked
        WHERE place <= :each AND (channel NOT IN ('sms', 'email') OR of_its_kind <= :messages)
        ORDER BY due_at, id LIMIT :limit
    ), leased AS (
        UPDATE deliveries d
        SET lease_until = clock_timestamp() + make_interval(secs => :lease), token = CAST(:token AS uuid),
            attempts = d.attempts + 1
        FROM chosen WHERE d.id = chosen.id
        RETURNING d.*
    )
    SELECT d.id, d.token, d.channel, d.what, d.target, d.step, d.attempts, d.until, coalesce(n.at, d.created_at) AS at,
           clock_timestamp() AS now, d.member_id, d.number, d.offer_id, d.lead_id, d.person_id,
           d.step > 0 AND EXISTS (
               SELECT FROM deliveries before
               WHERE before.offer_id = d.offer_id AND before.person_id = d.person_id AND before.number = d.number
                 AND before.opened_at IS NOT NULL) AS opened,
           o.state AS offer_state, o.version, o.expires_at, o.work_by, o.distance_m,
           coalesce(o.worked_at > n.at, false) AS stepped,
           l.pool, l.country, l.region, l.postal_code, l.city, l.attributes ->> 'product' AS product,
           p.active, p.email, p.phone, p.language, p.units, p.time_zone,
           e.url,
           ARRAY[d.sealed, v.sealed, e.sealed, CASE WHEN e.old_until > clock_timestamp() THEN e.old_sealed END]
               AS sealed
    FROM leased d
    LEFT JOIN notices n ON n.member_id = d.member_id AND n.number = d.number
    LEFT JOIN offers o ON o.id = d.offer_id
    LEFT JOIN leads l ON l.id = d.lead_id
    LEFT JOIN people p ON p.id = d.person_id
    LEFT JOIN devices v ON d.channel = 'push' AND v.id = d.target AND v.person_id = d.person_id
    LEFT JOIN endpoints e ON d.channel = 'webhook' AND e.id = d.target AND e.state = 'active'
    ORDER BY d.due_at, d.id
""")
END = sa.text("""
    UPDATE deliveries d SET state = mine.state, why = mine.why, done_at = clock_timestamp(), lease_until = NULL,
                            sealed = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:states AS text[]), CAST(:whys AS text[]))
         AS mine (id, token, state, why)
    WHERE d.id = mine.id AND d.token = mine.token AND d.state = 'pending'
    RETURNING d.id
""")
RETRY = sa.text("""
    UPDATE deliveries d SET due_at = clock_timestamp() + make_interval(secs => mine.wait), why = mine.why,
                            lease_until = NULL, token = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:waits AS float8[]), CAST(:whys AS text[]))
         AS mine (id, token, wait, why)
    WHERE d.id = mine.id AND d.token = mine.token AND d.state = 'pending'
""")
# A channel that cannot reach the person at all: the next one need not wait, unless another device may have it.
NEXT_STEP = sa.text("""
    UPDATE deliveries d SET due_at = clock_timestamp()
    FROM deliveries failed
    WHERE failed.id = ANY(CAST(:ids AS bigint[]))
      AND d.member_id = failed.member_id AND d.number = failed.number AND d.person_id = failed.person_id
      AND d.step = failed.step + 1 AND d.state = 'pending' AND d.due_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM deliveries other
                      WHERE other.member_id = failed.member_id AND other.number = failed.number
                        AND other.person_id = failed.person_id AND other.step = failed.step
                        AND other.state IN ('pending', 'sent'))
""")
OPENED = sa.text("""
    UPDATE deliveries SET opened_at = clock_timestamp()
    WHERE offer_id = :offer AND member_id = :member AND person_id = :person AND opened_at IS NULL
""")

ENDPOINT_WELL = sa.text("""
    UPDATE endpoints SET failures = 0, failing_since = NULL, rests_until = NULL WHERE id = :id AND failures > 0
""")
ENDPOINT_FAILED = sa.text("""
    UPDATE endpoints SET failures = failures + 1, failing_since = coalesce(failing_since, clock_timestamp())
    WHERE id = :id RETURNING failures
""")
DISABLE = {
    "failing": sa.text("""
        UPDATE endpoints
        SET rests_until = clock_timestamp() + make_interval(secs => :rest),
            state = CASE WHEN failing_since < clock_timestamp() - make_interval(secs => :failing)
                         THEN 'disabled' ELSE state END,
            why = CASE WHEN failing_since < clock_timestamp() - make_interval(secs => :failing)
                       THEN 'it has failed for 5 days' ELSE why END
        WHERE id = :id
    """),
    "gone": sa.text("UPDATE endpoints SET state = 'disabled', why = :why WHERE id = :id AND state = 'active'"),
}
FORGET_DEVICE = sa.text("DELETE FROM devices WHERE id = :id")

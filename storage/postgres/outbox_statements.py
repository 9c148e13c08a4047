"""The outbox's statements. Claims go one at a time, under the lock of the org's gate."""

import sqlalchemy as sa

__all__ = [
    "BEGIN_AGAIN",
    "CLAIM_FREES",
    "CLAIM_OFFERS",
    "CLAIM_WRITES",
    "DONE",
    "DUE_FREES",
    "DUE_OFFERS",
    "DUE_WRITES",
    "END",
    "FOLLOW",
    "OLDEST",
    "PARK",
    "RELEASE",
    "RETELL",
    "RETRY",
]

DUE_FREES = sa.text("""
    SELECT EXISTS (SELECT FROM turns_owed) OR EXISTS (
        SELECT FROM outbox
        WHERE kind = 'turnstile' AND state = 'pending' AND due_at <= clock_timestamp()
          AND (lease_until IS NULL OR lease_until <= clock_timestamp()))
""")
DUE_WRITES = sa.text("""
    SELECT EXISTS (SELECT FROM outbox o
                   WHERE o.kind = 'salesforce' AND o.state = 'pending' AND o.due_at <= clock_timestamp()
                     AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
                     AND NOT EXISTS (
                         SELECT FROM outbox flying
                         WHERE flying.lead_id = o.lead_id AND flying.kind = 'salesforce'
                           AND flying.state = 'pending' AND flying.lease_until > clock_timestamp()))
""")
OLDEST = sa.text("""
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM outbox WHERE kind = :kind AND state = 'pending'
""")

# due: what could go now, best first, and with how many deaths behind it. The first decides whether the call carries
# many, a few, or one. mine: every pending row of the leads chosen, as newer ones take the place of older ones.
CLAIM_WRITES = sa.text("""
    WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
    due AS MATERIALIZED (
        SELECT o.id, o.lead_id, o.lane, o.due_at, least(o.deaths + (o.token IS NOT NULL)::int, 2) AS deaths
        FROM outbox o, clock
        WHERE o.kind = 'salesforce' AND o.state = 'pending' AND o.due_at <= clock.now
          AND (o.lease_until IS NULL OR o.lease_until <= clock.now)
          AND NOT EXISTS (SELECT FROM outbox flying
                          WHERE flying.lead_id = o.lead_id AND flying.kind = 'salesforce'
                            AND flying.state = 'pending' AND flying.lease_until > clock.now)
        ORDER BY o.lane, o.id LIMIT :most
    ), first AS (
        SELECT deaths, CASE deaths WHEN 0 THEN :most WHEN 1 THEN least(:few, :most) ELSE 1 END AS most
        FROM due ORDER BY lane, id LIMIT 1
    ), chosen AS (
        SELECT due.lead_id FROM due, first
        WHERE due.deaths = first.deaths
          AND ((SELECT count(*) >= :most OR min(lane) = 0 FROM due)
               OR (SELECT min(due_at) FROM due) <= clock_timestamp() - make_interval(secs => greatest(
                      CAST(:linger AS float8),
                      CASE WHEN EXISTS (SELECT FROM outbox WHERE kind = 'salesforce' AND state = 'pending'
                                          AND lease_until > clock_timestamp()) THEN :company ELSE 0 END)))
        ORDER BY due.lane, due.id LIMIT (SELECT most FROM first)
    ), mine AS MATERIALIZED (
        SELECT o.id, o.lead_id,
               row_number() OVER (PARTITION BY o.lead_id ORDER BY o.version DESC, o.id DESC) = 1 AS newest,
               max(o.deaths + (o.token IS NOT NULL)::int) OVER (PARTITION BY o.lead_id) AS deaths
        FROM outbox o
        WHERE o.lead_id IN (SELECT lead_id FROM chosen) AND o.kind = 'salesforce' AND o.state = 'pending'
    ), leased AS (
        UPDATE outbox o
        SET state = CASE WHEN mine.newest THEN 'pending' ELSE 'superseded' END,
            done_at = CASE WHEN mine.newest THEN NULL ELSE clock_timestamp() END,
            lease_until = CASE WHEN mine.newest THEN clock_timestamp() + make_interval(secs => :lease) END,
            token = CASE WHEN mine.newest THEN CAST(:token AS uuid) END,
            attempts = o.attempts + 1,
            deaths = mine.deaths
        FROM mine WHERE o.id = mine.id AND o.state = 'pending'
        RETURNING o.id, o.lead_id, o.state, o.attempts, o.deaths
    )
    SELECT leased.id, leased.deaths, leased.attempts,
           l.id, l.salesforce_id, l.version, l.state, l.attempt, l.reason, m.key, m.salesforce_id,
           CASE WHEN o.held THEN o.distance_m END, CASE WHEN o.held THEN o.ring_m END,
           d.policy_version, o.offered_at, o.expires_at,
           CASE WHEN o.state = 'rejected' THEN o.ended_at ELSE o.accepted_at END, o.accepted_at, o.ended_at,
           o.state, o.reason, coalesce(o.made, 0)
    FROM leased
    JOIN leads l ON l.id = leased.lead_id
    LEFT JOIN LATERAL (
        -- held: who has the lead, or had it to its end; of several who are asked at once the first is shown
        SELECT x.*, x.state IN ('offered', 'accepted', 'completed', 'lost') AS held, count(*) OVER () AS made
        FROM offers x WHERE x.lead_id = l.id AND x.state <> 'void'
        ORDER BY x.state = 'accepted' DESC, x.state = 'offered' DESC, x.state IN ('completed', 'lost') DESC,
                 (x.attempt * CASE WHEN x.state = 'offered' THEN -1 ELSE 1 END) DESC, x.offered_at DESC LIMIT 1
    ) o ON true
    LEFT JOIN members m ON m.id = o.member_id AND o.held
    LEFT JOIN LATERAL (
        SELECT policy_version FROM decisions
        WHERE decisions.lead_id = l.id ORDER BY decisions.id = o.id DESC NULLS LAST, at DESC LIMIT 1
    ) d ON true
    WHERE leased.state = 'pending'
    ORDER BY leased.id
""")

# Each offer of these leads that changed since its own record was last queued.
FOLLOW = sa.text("""
    INSERT INTO outbox (kind, lead_id, version, offer_id, lane)
    SELECT 'offer', o.lead_id, o.version, o.id, 2 FROM offers o
    WHERE o.lead_id = ANY(CAST(:leads AS bigint[])) AND o.state <> 'void'
      AND NOT EXISTS (SELECT FROM outbox x
                      WHERE x.lead_id = o.lead_id AND x.kind = 'offer' AND x.offer_id = o.id AND x.version >= o.version)
""")
DUE_OFFERS = sa.text("""
    SELECT EXISTS (SELECT FROM outbox
                   WHERE kind = 'offer' AND state = 'pending' AND due_at <= clock_timestamp()
                     AND (lease_until IS NULL OR lease_until <= clock_timestamp()))
""")
CLAIM_OFFERS = sa.text("""
    WITH due AS MATERIALIZED (
        SELECT o.id, o.offer_id, o.version FROM outbox o
        WHERE o.kind = 'offer' AND o.state = 'pending' AND o.due_at <= clock_timestamp()
          AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
          AND NOT EXISTS (SELECT FROM outbox flying
                          WHERE flying.lead_id = o.lead_id AND flying.kind = 'offer' AND flying.offer_id = o.offer_id
                            AND flying.state = 'pending' AND flying.lease_until > clock_timestamp())
        ORDER BY o.id LIMIT :most FOR UPDATE SKIP LOCKED
    ), mine AS (
        SELECT id, row_number() OVER (PARTITION BY offer_id ORDER BY version DESC, id DESC) = 1 AS newest FROM due
    ), leased AS (
        UPDATE outbox o
        SET state = CASE WHEN mine.newest THEN 'pending' ELSE 'superseded' END,
            done_at = CASE WHEN mine.newest THEN NULL ELSE clock_timestamp() END,
            lease_until = CASE WHEN mine.newest THEN clock_timestamp() + make_interval(secs => :lease) END,
            token = CASE WHEN mine.newest THEN CAST(:token AS uuid) END,
            attempts = o.attempts + 1
        FROM mine WHERE o.id = mine.id
        RETURNING o.id, o.offer_id, o.state, o.attempts
    )
    SELECT leased.id, leased.attempts,
           o.id, o.lead_id, l.salesforce_id, o.version, o.state, o.reason, o.kind, o.attempt, m.key, m.salesforce_id,
           o.distance_m, o.ring_m, d.policy_version, o.offered_at, o.expires_at,
           CASE WHEN o.state = 'rejected' THEN o.ended_at ELSE o.accepted_at END, o.accepted_at, o.ended_at
    FROM leased
    JOIN offers o ON o.id = leased.offer_id
    JOIN leads l ON l.id = o.lead_id
    JOIN members m ON m.id = o.member_id
    LEFT JOIN decisions d ON d.id = o.id
    WHERE leased.state = 'pending'
    ORDER BY leased.id
""")

# told: by outbox id, what was told. As an object and not as rows: a join would be planned for one row and walk all of
# them for each.
DONE = sa.text("""
    WITH done AS (
        UPDATE outbox SET state = 'done', done_at = clock_timestamp(), lease_until = NULL, error = NULL
        WHERE id = ANY(CAST(:ids AS bigint[])) AND token = CAST(:token AS uuid) AND state = 'pending'
        RETURNING id, lead_id, attempts
    )
    INSERT INTO timeline (lead_id, at, what, actor, task_id, policy_version, detail)
    SELECT done.lead_id, clock_timestamp(), 'written', 'fairturn', :task, (told.one ->> 'policy')::int,
           (told.one - 'policy') || jsonb_build_object('outbox', done.id, 'attempts', done.attempts,
               'since_received_ms', (extract(epoch FROM clock_timestamp() - leads.received_at) * 1000)::bigint)
    FROM done
    JOIN leads ON leads.id = done.lead_id
    CROSS JOIN LATERAL (SELECT CAST(:told AS jsonb) -> done.id::text AS one) told
    ORDER BY done.id
""")
RELEASE = sa.text("""
    UPDATE outbox SET lease_until = NULL, token = NULL, attempts = attempts - 1, deaths = 0, error = :error
    WHERE id = ANY(CAST(:ids AS bigint[])) AND token = CAST(:token AS uuid) AND state = 'pending'
""")
RETRY = sa.text("""
    UPDATE outbox SET due_at = clock_timestamp() + make_interval(secs => mine.wait), error = mine.error,
                      lease_until = NULL, token = NULL, deaths = 0
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:waits AS float8[]), CAST(:errors AS text[]))
         AS mine (id, token, wait, error)
    WHERE outbox.id = mine.id AND outbox.token = mine.token AND outbox.state = 'pending'
""")
END = sa.text("""
    UPDATE outbox SET state = :state, done_at = clock_timestamp(), lease_until = NULL, error = mine.error
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS uuid[]), CAST(:errors AS text[])) AS mine (id, token, error)
    WHERE outbox.id = mine.id AND outbox.token = mine.token AND outbox.state = 'pending'
    RETURNING outbox.id
""")
BEGIN_AGAIN = sa.text("""
    UPDATE outbox SET state = 'pending', attempts = 0, deaths = 0, due_at = clock_timestamp(), lease_until = NULL,
                      token = NULL, done_at = NULL
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'parked'
""")
PARK = sa.text("""
    INSERT INTO parked (kind, ref, reason, input, task_id)
    VALUES ('outbox', :ref, :reason, :input, :task_id)
    ON CONFLICT (kind, ref) DO UPDATE SET reason = excluded.reason, input = excluded.input,
        task_id = excluded.task_id, parked_at = clock_timestamp(), resolved_at = NULL
""").bindparams(sa.bindparam("input", type_=sa.JSON))

# What was told and is shown older again; what still waits to be told will be told anyway.
RETELL = sa.text("""
    INSERT INTO outbox (kind, lead_id, version, lane)
    SELECT 'salesforce', l.id, l.version, l.lane
    FROM unnest(CAST(:ids AS text[]), CAST(:versions AS bigint[])) AS shown (record, version)
    JOIN leads l ON l.salesforce_id = shown.record AND l.version > shown.version
    WHERE EXISTS (SELECT FROM outbox told WHERE told.lead_id = l.id AND told.kind = 'salesforce'
                    AND told.state = 'done' AND told.version > shown.version)
      AND NOT EXISTS (SELECT FROM outbox waits WHERE waits.lead_id = l.id AND waits.kind = 'salesforce'
                        AND waits.state = 'pending')
""")

CLAIM_FREES = sa.text("""
    WITH leased AS (
        UPDATE outbox SET lease_until = clock_timestamp() + make_interval(secs => :lease),
                          token = gen_random_uuid(), attempts = attempts + 1
        WHERE id IN (SELECT id FROM outbox
                     WHERE kind = 'turnstile' AND state = 'pending' AND due_at <= clock_timestamp()
                       AND (lease_until IS NULL OR lease_until <= clock_timestamp())
                     ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING id, token, offer_id
    )
    SELECT leased.id, leased.token, o.id, o.member_id, o.market, o.lead_id,
           o.state IN ('offered', 'accepted'), o.counts_kept, o.units
    FROM leased JOIN offers o ON o.id = leased.offer_id
    ORDER BY leased.id
""")

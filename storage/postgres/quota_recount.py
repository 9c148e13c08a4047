"""What is used of limits, counted a second time from the offers themselves: each look only what is new.

What offers up to a while ago add up to is kept apart from what counts them; a look adds the offers since then and
compares. Once an hour, and where something differs, all of every window is counted anew: so a change of an old row is
seen as well, and a transaction that was very late is no breach.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

#: The view that defines what must never be; it reads every offer of every window.
VIEW = "quota_miscounted"
#: No transaction lasts as long: offers and ends this old are all there.
SETTLED = timedelta(minutes=5)
WHOLE_EVERY = timedelta(hours=1)
#: Where something differs, it is counted anew, but not again and again.
ANEW_EVERY = timedelta(minutes=10)


def look(
    conn: sa.Connection, examples: int, *, whole_every: timedelta = WHOLE_EVERY
) -> tuple[int, Sequence[str], bool]:
    """How many buckets are miscounted, the first of them, and whether all of every window was counted."""
    told = conn.execute(_HOW_FAR).one_or_none()
    whole = told is None or told.ago > whole_every
    conn.execute(_ROOM)
    upto = _count_anew(conn) if whole else _count_on(conn)
    found = conn.execute(_DIFFER, {"upto": upto}).all()
    if found and not whole and told is not None and told.ago > min(ANEW_EVERY, whole_every):
        whole, found = True, conn.execute(_DIFFER, {"upto": _count_anew(conn)}).all()
    return len(found), [f"{row.subject}: {row.detail}" for row in found[:examples]], whole


def _count_anew(conn: sa.Connection) -> datetime:
    """How far it is recounted then."""
    conn.execute(_LONGER)
    conn.execute(_FORGET)
    upto: datetime = conn.execute(_BEGIN, {"settled": SETTLED}).scalar_one()
    conn.execute(_ADD_ALL, {"upto": upto})
    return upto


def _count_on(conn: sa.Connection) -> datetime:
    """How far it is recounted then. The moments are given as they are: so it is known how few rows lie between."""
    row = conn.execute(_GO_ON, {"settled": SETTLED}).one()
    conn.execute(_ADD_NEW, {"after": row.before, "upto": row.upto})
    upto: datetime = row.upto
    return upto


_ROOM = sa.text("SELECT set_config('work_mem', '64MB', true)")
_LONGER = sa.text("SELECT set_config('statement_timeout', '300s', true)")
_HOW_FAR = sa.text("SELECT clock_timestamp() - whole_at AS ago FROM quota_recounted")
_FORGET = sa.text("WITH gone AS (DELETE FROM quota_recounted) DELETE FROM quota_recounts")
_BEGIN = sa.text("""
    INSERT INTO quota_recounted (upto, whole_at) VALUES (clock_timestamp() - :settled, clock_timestamp())
    RETURNING upto
""")
_GO_ON = sa.text("""
    UPDATE quota_recounted r SET upto = greatest(r.upto, clock_timestamp() - :settled)
    FROM quota_recounted before RETURNING before.upto AS before, r.upto
""")
# Units that offers took, and those that limits of what is kept were given back. An offer counts in its bucket for as
# long as a later one of the same bucket may matter.
_CHANGES = """
    SELECT d.market, u ->> 1 AS counter, CAST(u ->> 2 AS int) AS bucket, d.units,
           d.at + make_interval(secs => CAST(u ->> 4 AS int)) AS until
    FROM decisions d JOIN offers o ON o.id = d.id AND o.state <> 'void'
    CROSS JOIN LATERAL jsonb_array_elements(d.uses) u
    WHERE d.uses <> '[]' AND {decided} AND d.at + 2 * make_interval(secs => CAST(u ->> 4 AS int)) > clock_timestamp()
    UNION ALL
    SELECT d.market, u ->> 1, CAST(u ->> 2 AS int), -d.units, d.at + make_interval(secs => CAST(u ->> 4 AS int))
    FROM offers o JOIN decisions d ON d.id = o.id CROSS JOIN LATERAL jsonb_array_elements(d.uses) u
    WHERE o.counts_kept AND o.state IN ('rejected', 'expired', 'withdrawn') AND {ended}
      AND starts_with(u ->> 1, 'kept/')
      AND d.at + 2 * make_interval(secs => CAST(u ->> 4 AS int)) > clock_timestamp()
"""
_UPTO = "CAST(:upto AS timestamptz)"


def _add(after: str) -> sa.TextClause:
    """Add what was changed after a moment, up to how far it is recounted."""
    changes = _CHANGES.format(
        decided=f"{after.format('d.at')} d.at <= {_UPTO}", ended=f"{after.format('o.ended_at')} o.ended_at <= {_UPTO}"
    )
    return sa.text(f"""
        INSERT INTO quota_recounts AS r (market, counter, bucket, units, until)
        SELECT market, counter, bucket, sum(units), max(until) FROM ({changes}) c GROUP BY market, counter, bucket
        ON CONFLICT (market, counter, bucket) DO UPDATE
        SET units = r.units + excluded.units, until = greatest(r.until, excluded.until)
    """)  # noqa: S608 - our own words, here and below


_ADD_ALL, _ADD_NEW = _add(""), _add("{} > CAST(:after AS timestamptz) AND")
# In one statement, so at one moment.
_DIFFER = sa.text(f"""
    WITH held AS (
        SELECT market, counter, bucket, sum(units) AS units, max(until) AS until FROM (
            SELECT market, counter, bucket, units, until FROM quota_recounts
            UNION ALL
            {_CHANGES.format(decided=f"d.at > {_UPTO}", ended=f"o.ended_at > {_UPTO}")}
        ) c GROUP BY market, counter, bucket
    )
    SELECT 'limit ' || counter || ' of ' || market AS subject,
           'bucket ' || bucket || ' counts ' || coalesce(q.used, 0) || ', holds ' || coalesce(h.units, 0) AS detail
    FROM quota_uses q FULL JOIN held h USING (market, counter, bucket)
    WHERE coalesce(q.used, 0) <> coalesce(h.units, 0)
      AND coalesce(q.until, h.until) > clock_timestamp() + interval '1 minute'
    ORDER BY market, counter, bucket
""")  # noqa: S608

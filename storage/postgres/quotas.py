"""What is used of limits, by the ledger: counted under guard with the offer, given back with its end."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.decision import Decision
from routing.limiting import bound_of
from routing.limits import Check, Use, Uses, checks_of, count, read_uses, used
from routing.offer import OfferState
from routing.policy import Policy
from storage.postgres.engine import transaction

#: Ends after which a lead was not kept.
NOT_KEPT = frozenset({OfferState.REJECTED, OfferState.EXPIRED, OfferState.WITHDRAWN})
Counter = tuple[str, str]  # market, name


@dataclass(frozen=True, slots=True)
class Left:
    """What a member has used of a limit of its own; `pool` is empty for one over all pools."""

    pool: str
    limit: str
    used: int
    most: int
    until: datetime  # when its window moves on

    @property
    def left(self) -> int:
        return max(self.most - self.used, 0)


class Quotas:
    """What members may still have."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def left(self, policy: Policy, member: int) -> list[Left]:
        """Every limit of the member's own; of those it shares with others nothing is told."""
        if not policy.is_limited:
            return []
        with transaction(self._engine) as conn:
            row = conn.execute(_MEMBER, {"member": member}).one_or_none()
            if row is None:
                return []
            bound = bound_of(policy, member, row.tier, row.attributes)
            everywhere = checks_of(bound, policy.limits, "", (), row.now)
            mine = [("", one) for one in everywhere]
            for pool in (pool for pool in policy.pools if pool.market == row.market):
                here = checks_of(bound, (), pool.name, pool.limits, row.now)
                mine += [(pool.name, one) for one in here if one not in everywhere]
            own = [(pool, one) for pool, one in mine if one.counter.endswith(f"/m{member}") and not one.percent]
            uses = held(conn, row.market, {one.counter for _, one in own})
        return [_left(pool, one, uses) for pool, one in own]

    def uses(self, market: str) -> dict[str, dict[int, int]]:
        """What is used of every limit of the market: counter to bucket to units."""
        with transaction(self._engine) as conn:
            return all_of(conn, market)


def _left(pool: str, one: Check, uses: Uses) -> Left:
    until = datetime.fromtimestamp(one.until, UTC)
    return Left(pool, one.limit, used(uses, one.counter, one.bucket, one.buckets), one.most, until)


def take(conn: sa.Connection, decisions: Sequence[Decision]) -> set[UUID]:
    """Count these decisions in their limits; those that would pass one are not counted, and named.

    Members must be locked before, as ends of offers lock them first as well. A share is what the turnstile said: of a
    whole that grows while others commit, the ledger cannot say more.
    """
    limited = [one for one in decisions if one.chosen is not None and one.uses]
    if not limited:
        return set()
    books = _locked(conn, {(one.market, each.counter) for one in limited for each in one.uses})
    refused: set[UUID] = set()
    added: dict[tuple[str, str, int], tuple[int, int, int]] = {}  # units, seconds, buckets of the window
    for one in sorted(limited, key=lambda d: d.seq):
        book = books[one.market]
        if any(_passes(each, one.units, book) for each in one.uses):
            refused.add(one.id)
            continue
        count(one.uses, one.units, book)
        for each in one.uses:
            key = one.market, each.counter, each.bucket
            added[key] = added.get(key, (0, 0, 0))[0] + one.units, each.lasts, each.buckets
    if added:
        conn.execute(_ADD, _columns(added))
        conn.execute(_FORGET, {"markets": [m for m, *_ in added], "counters": [c for _, c, _ in added]})
    return refused


def untake(conn: sa.Connection, decisions: Sequence[Decision]) -> None:
    """Take back what `take` counted in the same transaction."""
    less: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for one in decisions:
        for each in one.uses:
            less[one.market, each.counter, each.bucket] += one.units
    if less:
        conn.execute(_LESS, _columns({key: (units, 0, 0) for key, units in less.items()}))


def held(conn: sa.Connection, market: str, counters: Iterable[str]) -> dict[str, dict[int, int]]:
    """What is used of these counters."""
    names = sorted(counters)
    return _by_counter(conn.execute(_HELD, {"market": market, "counters": names})) if names else {}


def all_of(conn: sa.Connection, market: str) -> dict[str, dict[int, int]]:
    """What is used of every limit of the market whose window is not long over."""
    return _by_counter(conn.execute(_ALL, {"market": market}))


def reached(conn: sa.Connection, market: str) -> dict[str, dict[int, int]]:
    """What is used of each limit in the buckets that its newest window reaches, those given back whole included."""
    return _by_counter(conn.execute(_REACHED, {"market": market}))


def give_back(conn: sa.Connection, offers: Sequence[UUID]) -> None:
    """Take ended offers out of the limits that only count what is kept; members are locked."""
    less: defaultdict[tuple[str, str, int], int] = defaultdict(int)
    for row in conn.execute(_USES, {"ids": list(offers)}):
        for one in read_uses(row.uses):
            if one.kept:
                less[row.market, one.counter, one.bucket] += row.units
    if less:
        _lock(conn, {(market, counter) for market, counter, _ in less})
        conn.execute(_LESS, _columns({key: (units, 0, 0) for key, units in less.items()}))


def given_back(conn: sa.Connection, offers: Sequence[UUID]) -> dict[UUID, tuple[Use, ...]]:
    """Of ended offers that were not kept, the limits that count them no longer."""
    rows = conn.execute(_ENDED_USES, {"ids": list(offers), "states": [str(state) for state in NOT_KEPT]})
    found = {row.id: tuple(one for one in read_uses(row.uses) if one.kept) for row in rows}
    return {offer: uses for offer, uses in found.items() if uses}


def _passes(one: Use, units: int, book: Uses) -> bool:
    return not one.percent and used(book, one.counter, one.bucket, one.buckets) + units > one.most


def _locked(conn: sa.Connection, counters: set[Counter]) -> dict[str, dict[str, dict[int, int]]]:
    _lock(conn, counters)
    return {market: held(conn, market, [c for m, c in counters if m == market]) for market in {m for m, _ in counters}}


def _lock(conn: sa.Connection, counters: set[Counter]) -> None:
    """Until the transaction ends nobody else counts in these; taken in one order by everybody."""
    conn.execute(_LOCK, {"names": [f"quota:{market}:{counter}" for market, counter in sorted(counters)]})


def _by_counter(rows: Iterable[Any]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row.counter, {})[row.bucket] = row.used
    return found


def _columns(added: dict[tuple[str, str, int], tuple[int, int, int]]) -> dict[str, Any]:
    keys = sorted(added)
    return {
        "markets": [market for market, _, _ in keys],
        "counters": [counter for _, counter, _ in keys],
        "buckets": [bucket for _, _, bucket in keys],
        "units": [added[key][0] for key in keys],
        "lasts": [added[key][1] for key in keys],
        "spans": [added[key][2] for key in keys],
    }


_MEMBER = sa.text("SELECT market, tier, attributes, clock_timestamp() AS now FROM members WHERE id = :member")
_LOCK = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended(name, 0))
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n(name, number) ORDER BY number
""")
_HELD = sa.text("""
    SELECT counter, bucket, used FROM quota_uses
    WHERE market = :market AND counter = ANY(CAST(:counters AS text[])) AND used > 0
""")
_ALL = sa.text("""
    SELECT counter, bucket, used FROM quota_uses
    WHERE market = :market AND used > 0 AND until > clock_timestamp()
""")
_REACHED = sa.text("""
    SELECT counter, bucket, used FROM (
        SELECT counter, bucket, used, max(bucket) OVER (PARTITION BY counter) - buckets AS past FROM quota_uses
        WHERE market = :market AND until > clock_timestamp()
    ) q WHERE bucket > past
""")
_ADD = sa.text("""
    INSERT INTO quota_uses AS q (market, counter, bucket, buckets, used, until)
    SELECT market, counter, bucket, buckets, units, clock_timestamp() + make_interval(secs => lasts)
    FROM unnest(CAST(:markets AS text[]), CAST(:counters AS text[]), CAST(:buckets AS int[]), CAST(:units AS int[]),
                CAST(:lasts AS int[]), CAST(:spans AS int[])) AS a(market, counter, bucket, units, lasts, buckets)
    ON CONFLICT (market, counter, bucket) DO UPDATE
    SET used = q.used + excluded.used, until = greatest(q.until, excluded.until)
""")
# A bucket that is forgotten by now stays so.
_LESS = sa.text("""
    UPDATE quota_uses q SET used = greatest(q.used - units, 0)
    FROM unnest(CAST(:markets AS text[]), CAST(:counters AS text[]), CAST(:buckets AS int[]), CAST(:units AS int[]))
         AS a(market, counter, bucket, units)
    WHERE q.market = a.market AND q.counter = a.counter AND q.bucket = a.bucket
""")
_FORGET = sa.text("""
    DELETE FROM quota_uses q USING unnest(CAST(:markets AS text[]), CAST(:counters AS text[])) AS a(market, counter)
    WHERE q.market = a.market AND q.counter = a.counter AND q.until < clock_timestamp()
""")
_USES = sa.text("""
    SELECT d.market, d.units, d.uses FROM decisions d WHERE d.id = ANY(CAST(:ids AS uuid[])) AND d.uses <> '[]'
""")
_ENDED_USES = sa.text("""
    SELECT d.id, d.uses FROM offers o JOIN decisions d ON d.id = o.id
    WHERE o.id = ANY(CAST(:ids AS uuid[])) AND o.counts_kept AND o.state = ANY(CAST(:states AS text[]))
""")

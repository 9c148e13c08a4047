"""How far every account is, and ever was, from what is due to it: kept up with the ledger, a page at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.bound import TURN, Bound
from routing.followed import Account, Followed, Passed, Rotation
from routing.policy import Mode
from storage.postgres.books import shares_of
from storage.postgres.engine import transaction

#: Decisions and corrections taken up in one transaction.
PAGE = 1_000
#: A number that is missing for longer is passed: it was given back, or comes late and is added then.
PATIENCE_S = 60
#: Numbers that never came are looked for so long.
LATE_DAYS = 2


@dataclass(frozen=True, slots=True)
class MemberFairness:
    """One member's account in turns; `deviation` is offers minus entitlement, in turns: below zero, it is owed."""

    member: str
    offers: int
    received: float
    entitled: float  # with what corrections added
    deviation: float
    worst: float  # the farthest it ever was, either way
    corrected: float


@dataclass(frozen=True, slots=True)
class RotationFairness:
    """The accounts of one rotation, in turns, and what bounds them."""

    market: str
    pool: str
    rotation: str
    members: int
    decisions: int
    worst_now: float
    worst_ever: float
    worst_member: str | None
    worst_at: datetime | None
    mode: str | None  # of the pool, as it is published now
    bound: float | None  # the farthest anyone can ever have been; None where modes without accounts decided
    added: float  # of the bound: by corrections, while they were not made good
    added_now: float
    largest_turn: float
    accounts: tuple[MemberFairness, ...]


class FollowedAccounts:
    """Reads on where it stopped; safe to run twice, and twice at once."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def follow(self, market: str) -> int:
        """Take up what was decided and corrected since; how many there were, none while somebody else does."""
        done = 0
        while count := self._page(market):
            done += count
            if count < PAGE:
                break
        return done

    def of(self, pool: str = "", *, shared: tuple[str, str] = ("", "")) -> list[RotationFairness]:
        """Every rotation (of one pool), by name; accounts as of the last look.

        `shared`: market and name of a rotation that the pool shares with others.
        """
        with transaction(self._engine) as conn:
            keys = {row.id: row.key for row in conn.execute(_KEYS)}
            rotations = conn.execute(_ROTATIONS, {"pool": pool, "market": shared[0], "shared": shared[1]}).all()
            names = {"markets": [row.market for row in rotations], "rotations": [row.rotation for row in rotations]}
            accounts: dict[tuple[str, str], list[Any]] = {}
            for row in conn.execute(_OF_THESE, names):
                accounts.setdefault((row.market, row.rotation), []).append(row)
        return [_told(row, accounts.get((row.market, row.rotation), []), keys) for row in rotations]

    def summary(self) -> list[RotationFairness]:
        """The same without accounts and names, of each rotation's last period: for everybody."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_SUMMARY).all()
        return [_rotation(row, row.members, (row.worst_now or 0) / TURN, None, ()) for row in rows]

    def _page(self, market: str) -> int:
        with transaction(self._engine) as conn:
            if not conn.scalar(_ONE_AT_A_TIME, {"market": market}):
                return 0
            conn.execute(_FORGET_GAPS, {"market": market, "days": LATE_DAYS})
            mark = conn.execute(_MARK, {"market": market}).one_or_none()
            at = (mark.generation, mark.seq) if mark else (0, 0)
            late = conn.execute(_LATE, {"market": market}).all()
            rows = conn.execute(_SINCE, {"market": market, "generation": at[0], "seq": at[1], "limit": PAGE}).all()
            ready, gaps = _without_gap(rows, at)
            taken = [*late, *ready]
            if not taken:
                return 0
            self._take(conn, market, taken)
            _settle(conn, market, ready, late, gaps)
            return len(taken)

    def _take(self, conn: sa.Connection, market: str, rows: Sequence[Any]) -> None:
        passed = [one for row in rows if (one := _passed(row)) is not None]
        names = sorted({one.rotation for one in passed})
        keys = sorted({(p.rotation, m) for p in passed for m in (*p.parts, *([] if p.chosen is None else [p.chosen]))})
        found = _load(conn, market, names, keys, {one.rotation for one in passed if one.chosen is None})
        for one in passed:
            found.take(one)
        _save(conn, market, found, set(keys))


def _without_gap(rows: Sequence[Any], at: tuple[int, int]) -> tuple[list[Any], list[tuple[int, int]]]:
    """The rows up to a number that may still come, and the numbers that were passed."""
    generation, seq = at
    ready: list[Any] = []
    gaps: list[tuple[int, int]] = []
    for row in rows:
        if row.generation == generation and row.seq > seq + 1:
            if row.age_s < PATIENCE_S:
                break
            gaps += [(generation, number) for number in range(seq + 1, row.seq)]
        generation, seq = row.generation, row.seq
        ready.append(row)
    return ready, gaps


def _passed(row: Any) -> Passed | None:
    if row.delta is not None:
        return Passed(row.rotation, "", None, dict(zip(row.member, row.delta, strict=True)), 0, row.at)
    if row.chosen is None:
        return None
    parts = shares_of(row.member, row.weight, row.gate, row.turn)
    return Passed(row.rotation, row.pool, row.chosen, parts, row.turn, row.at, fair=row.mode == Mode.FAIR)


def _load(
    conn: sa.Connection, market: str, names: Sequence[str], keys: Sequence[tuple[str, int]], corrected: set[str]
) -> Followed:
    rotations = {
        row.rotation: Rotation(
            row.pool,
            Bound(row.turn, row.decisions, row.other, row.added, row.most_added),
            row.worst,
            row.worst_member,
            row.worst_at,
        )
        for row in conn.execute(_THESE, {"market": market, "names": list(names)})
    }
    values = {
        "market": market,
        "names": [n for n, _ in keys],
        "members": [m for _, m in keys],
        "whole": sorted(corrected | {name for name, one in rotations.items() if one.limit.added}),
    }
    accounts = {
        (row.rotation, row.member_id): Account(row.offers, row.received, row.entitled, row.corrected, row.worst)
        for row in conn.execute(_ACCOUNTS, values)
    }
    return Followed(accounts, rotations)


def _save(conn: sa.Connection, market: str, found: Followed, moved: set[tuple[str, int]]) -> None:
    def columns(rows: Iterable[tuple[Any, ...]], names: Sequence[str]) -> Mapping[str, Any]:
        listed = list(rows)
        return {name: [row[n] for row in listed] for n, name in enumerate(names)}

    accounts = (
        (r, m, a.offers, a.received, a.entitled, a.corrected, a.worst)
        for (r, m), a in found.accounts.items()
        if (r, m) in moved
    )
    names = ("rotations", "members", "offers", "received", "entitled", "corrected", "worst")
    conn.execute(_KEEP_ACCOUNTS, {"market": market, **columns(accounts, names)})
    rotations = (
        (name, r.pool, b.decisions, b.turn, r.worst, r.worst_member, r.worst_at, b.other, b.added, b.most)
        for name, r in found.rotations.items()
        for b in (r.limit,)
    )
    kept = ("rotations", "pools", "decisions", "turns", "worst", "who", "when", "other", "added", "most_added")
    conn.execute(_KEEP_ROTATIONS, {"market": market, **columns(rotations, kept)})


def _settle(
    conn: sa.Connection, market: str, ready: Sequence[Any], late: Sequence[Any], gaps: Sequence[tuple[int, int]]
) -> None:
    if late:
        numbers = {"generations": [row.generation for row in late], "numbers": [row.seq for row in late]}
        conn.execute(_FOUND, {"market": market, **numbers})
    if gaps:
        values = {"market": market, "generations": [g for g, _ in gaps], "numbers": [n for _, n in gaps]}
        conn.execute(_KEEP_GAPS, values)
        conn.execute(_BUILT_ON, {"market": market, "gaps": len(gaps)})
    if ready:
        conn.execute(_KEEP_MARK, {"market": market, "generation": ready[-1].generation, "seq": ready[-1].seq})


def _told(row: Any, accounts: Iterable[Any], keys: Mapping[int, str]) -> RotationFairness:
    told = sorted(_accounts(accounts, keys), key=lambda one: (one.deviation, one.member))
    worst = max((abs(one.deviation) for one in told), default=0.0)
    who = None if row.worst_member is None else keys.get(row.worst_member, "?")
    return _rotation(row, len(told), worst, who, tuple(told))


def _rotation(
    row: Any, members: int, worst_now: float, who: str | None, accounts: tuple[MemberFairness, ...]
) -> RotationFairness:
    limit = Bound(row.turn, row.decisions, row.other, row.added, row.most_added).of(members)
    return RotationFairness(
        row.market,
        row.pool,
        row.rotation,
        members,
        row.decisions,
        worst_now,
        row.worst / TURN,
        who,
        row.worst_at,
        row.mode,
        None if limit is None else limit / TURN,
        row.most_added / TURN,
        row.added / TURN,
        row.turn / TURN,
        accounts,
    )


def _accounts(rows: Iterable[Any], keys: Mapping[int, str]) -> Iterator[MemberFairness]:
    for row in rows:
        due = row.entitled + row.corrected
        yield MemberFairness(
            keys.get(row.member_id, "?"),
            row.offers,
            row.received / TURN,
            due / TURN,
            (row.received - due) / TURN,
            row.worst / TURN,
            row.corrected / TURN,
        )


_ONE_AT_A_TIME = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('fairness:' || :market))")
_MARK = sa.text("SELECT generation, seq FROM fairness_marks WHERE market = :market")
_DECIDED = """
    SELECT generation, seq, at, rotation, pool, mode, chosen, turn, member, weight, gate,
           CAST(NULL AS bigint[]) AS delta,
           extract(epoch FROM clock_timestamp() - at)::float8 AS age_s
    FROM decisions d
"""
_CORRECTED = """
    SELECT generation, seq, at, rotation, '', '', CAST(NULL AS int), CAST(0 AS bigint), member, CAST(NULL AS int[]),
           CAST(NULL AS smallint[]), delta, extract(epoch FROM clock_timestamp() - at)::float8
    FROM corrections d
"""
_AFTER = """
    WHERE market = :market AND (generation, seq) > (:generation, :seq) ORDER BY generation, seq LIMIT :limit
"""
_SINCE = sa.text(
    f"({_DECIDED} {_AFTER}) UNION ALL ({_CORRECTED} {_AFTER}) ORDER BY generation, seq LIMIT :limit".replace(
        "::", "\\:\\:"
    )
)
_GAP = """
    WHERE market = :market AND EXISTS (
        SELECT FROM fairness_gaps g WHERE g.market = d.market AND (g.generation, g.seq) = (d.generation, d.seq))
"""
_LATE = sa.text(f"({_DECIDED} {_GAP}) UNION ALL ({_CORRECTED} {_GAP}) ORDER BY generation, seq".replace("::", "\\:\\:"))
_FOUND = sa.text("""
    DELETE FROM fairness_gaps g
    USING unnest(CAST(:generations AS bigint[]), CAST(:numbers AS bigint[])) AS x (generation, seq)
    WHERE g.market = :market AND (g.generation, g.seq) = (x.generation, x.seq)
""")
_FORGET_GAPS = sa.text("""
    DELETE FROM fairness_gaps WHERE market = :market AND at < clock_timestamp() - make_interval(days => :days)
""")
_KEEP_GAPS = sa.text("""
    INSERT INTO fairness_gaps (market, generation, seq)
    SELECT CAST(:market AS text), x.* FROM unnest(CAST(:generations AS bigint[]), CAST(:numbers AS bigint[])) AS x
    ON CONFLICT DO NOTHING
""")
_KEEP_MARK = sa.text("""
    INSERT INTO fairness_marks (market, generation, seq) VALUES (:market, :generation, :seq)
    ON CONFLICT (market) DO UPDATE SET generation = excluded.generation, seq = excluded.seq
""")
_ACCOUNTS = sa.text("""
    SELECT a.* FROM unnest(CAST(:names AS text[]), CAST(:members AS int[])) AS x (rotation, member_id)
    JOIN fairness_accounts a ON a.market = :market AND (a.rotation, a.member_id) = (x.rotation, x.member_id)
    WHERE x.rotation <> ALL(CAST(:whole AS text[]))
    UNION ALL
    SELECT * FROM fairness_accounts WHERE market = :market AND rotation = ANY(CAST(:whole AS text[]))
""")
_THESE = sa.text("""
    SELECT * FROM fairness_rotations WHERE market = :market AND rotation = ANY(CAST(:names AS text[]))
""")
_KEEP_ACCOUNTS = sa.text("""
    INSERT INTO fairness_accounts (market, rotation, member_id, offers, received, entitled, corrected, worst)
    SELECT CAST(:market AS text), x.* FROM unnest(CAST(:rotations AS text[]), CAST(:members AS int[]),
        CAST(:offers AS bigint[]), CAST(:received AS bigint[]), CAST(:entitled AS bigint[]),
        CAST(:corrected AS bigint[]), CAST(:worst AS bigint[])) AS x
    ON CONFLICT (market, rotation, member_id) DO UPDATE
    SET offers = excluded.offers, received = excluded.received, entitled = excluded.entitled,
        corrected = excluded.corrected, worst = excluded.worst
""")
_KEEP_ROTATIONS = sa.text("""
    INSERT INTO fairness_rotations (
        market, rotation, pool, decisions, turn, worst, worst_member, worst_at, other, added, most_added)
    SELECT CAST(:market AS text), x.* FROM unnest(CAST(:rotations AS text[]), CAST(:pools AS text[]),
        CAST(:decisions AS bigint[]), CAST(:turns AS bigint[]), CAST(:worst AS bigint[]), CAST(:who AS int[]),
        CAST(:when AS timestamptz[]), CAST(:other AS bigint[]), CAST(:added AS bigint[]),
        CAST(:most_added AS bigint[])) AS x
    ON CONFLICT (market, rotation) DO UPDATE
    SET pool = excluded.pool, decisions = excluded.decisions, turn = excluded.turn, worst = excluded.worst,
        worst_member = excluded.worst_member, worst_at = excluded.worst_at,
        other = excluded.other, added = excluded.added, most_added = excluded.most_added
""")
# Decisions may have been built on what came to nothing: of whichever rotation it was, one turn of those.
_BUILT_ON = sa.text("""
    UPDATE fairness_rotations SET added = added + turn * :gaps, most_added = greatest(most_added, added + turn * :gaps)
    WHERE market = :market
""")
_KEYS = sa.text("SELECT id, key FROM members")
_ROTATIONS = sa.text("""
    SELECT r.*, p.mode FROM fairness_rotations r LEFT JOIN pools p ON p.name = r.pool
    WHERE :pool IN ('', r.pool)
        OR (r.market, split_part(split_part(r.rotation, '@', 1), '/', 1)) = (:market, CAST(:shared AS text))
    ORDER BY r.market, r.rotation
""")
_SUMMARY = sa.text("""
    SELECT DISTINCT ON (r.market, split_part(r.rotation, '@', 1)) r.*, p.mode, a.members, a.worst_now
    FROM fairness_rotations r LEFT JOIN pools p ON p.name = r.pool
    CROSS JOIN LATERAL (
        SELECT count(*) AS members, max(abs(entitled + corrected - received)) AS worst_now
        FROM fairness_accounts WHERE market = r.market AND rotation = r.rotation
    ) a
    ORDER BY r.market, split_part(r.rotation, '@', 1), r.rotation DESC
""")
_OF_THESE = sa.text("""
    SELECT a.* FROM unnest(CAST(:markets AS text[]), CAST(:rotations AS text[])) AS x (market, rotation)
    JOIN fairness_accounts a USING (market, rotation)
""")

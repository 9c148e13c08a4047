"""What turns are worth besides decisions: leads given by hand, absences, windows and minimums, in the ledger."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa

from routing.lead import Point, Precision, Reason
from routing.rotation import STEP, part_of, parts_in, summed
from routing.turn_keeper import Debt, Decided, Flag, GivenByHand, Return
from routing.turns import Correction, Effect, of_offer
from storage.postgres.audit import record
from storage.postgres.books import shares_of
from storage.postgres.corrections import owe
from storage.postgres.engine import transaction
from storage.postgres.members import ONE_AT_A_TIME

#: Looked at together.
TOGETHER = 200
#: Decisions read at once.
PAGE = 2_000
#: Corrections of rolling windows have ids made from their names.
_WINDOWS = UUID("6f1d1c6e-5a0e-4a55-9f3e-1f0f3bb0a001")
#: A degree of latitude is never shorter, in metres.
_DEGREE_M = 110_500.0


class TurnBook:
    """Keeps routing.turn_keeper.TurnBook's promises with Postgres."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def clock(self) -> datetime:
        """The ledger's time."""
        with transaction(self._engine) as conn:
            now: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
            return now

    # --- leads given by hand

    def count(self, judge: Callable[[GivenByHand], Correction | None]) -> int:
        """Let `judge` say of each offer that was nobody's turn what it costs; how many were looked at."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_TO_COUNT, {"limit": TOGETHER}).all()
            paid = _paid_already(conn, rows)
            made = [one for row in rows if (one := judge(_given(row, paid.get(row.id)))) is not None]
            owe(conn, made)
            if rows:
                conn.execute(_COUNTED, {"ids": [row.id for row in rows]})
            return len(rows)

    # --- absences

    def returned(self) -> Sequence[Return]:
        """Absences that are over, and whose worth is not settled yet."""
        with transaction(self._engine) as conn:
            return [Return(*row) for row in conn.execute(_RETURNED, {"limit": TOGETHER})]

    def decided(self, one: Return, pools: Sequence[str], places: Sequence[Point], reach_m: float) -> Iterator[Decided]:
        """What was decided by turn in these pools while the member was away, of leads about as near as that."""
        box = _box(places, reach_m)
        values = {"market": one.market, "pools": list(pools), "began": one.began_at, "ended": one.ended_at, **box}
        with transaction(self._engine) as conn:
            for row in conn.execute(_DECIDED, values):
                eligible = {m: w for m, w, gate in zip(row.member, row.weight, row.gate, strict=True) if gate == 0}
                yield Decided(
                    row.pool, row.rotation, row.ring, row.rings_m, Point(row.lat, row.lon), eligible, row.turn
                )

    def settle(self, one: Return, debts: Sequence[Debt]) -> None:
        """Write down what an absence is worth; written once."""
        with transaction(self._engine) as conn:
            if conn.execute(_SETTLE, {"id": one.id}).rowcount and debts:
                conn.execute(_OWE_ABSENCE, [_debt(one, debt) for debt in debts])

    def pay(self) -> int:
        """Owe the parts of absences that are due; how many."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_DUE, {"limit": TOGETHER}).all()
            made = [_part(row) for row in rows]
            owe(conn, made)
            if rows:
                conn.execute(_PAID, {"ids": [row.id for row in rows]})
            return len(made)

    # --- rolling windows

    def rolling(self, pools: Sequence[str]) -> Sequence[tuple[str, str, str]]:
        """Market, rotation and pool of the rotations of these pools."""
        with transaction(self._engine) as conn:
            return [(r.market, r.rotation, r.pool) for r in conn.execute(_ROTATIONS, {"pools": list(pools)})]

    def roll(self, market: str, rotation: str, window: timedelta) -> int:
        """Owe the correction that takes out what fell out of the window; whole hours. How many decisions it was."""
        with transaction(self._engine) as conn:
            conn.execute(_ROLL_LOCK, {"name": f"{market}/{rotation}"})
            before = _hour(conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one() - window)
            mark = conn.execute(_ROLLED, {"market": market, "rotation": rotation}).one_or_none()
            if mark is not None and mark.upto >= before:
                return 0
            at = (mark.generation, mark.seq) if mark else (0, 0)
            done, deltas = 0, dict[int, int]()
            while rows := self._fallen(conn, market, rotation, at, before):
                deltas = summed([deltas, *(_undone(row) for row in rows)])
                at, done = (rows[-1].generation, rows[-1].seq), done + len(rows)
            if deltas:
                name = uuid5(_WINDOWS, f"{market}/{rotation}/{before.isoformat()}")
                said = f"older than the window of {window.days} days"
                owe(conn, [Correction(name, market, rotation, Effect.FORGET, said, deltas)])
            values = {"market": market, "rotation": rotation, "generation": at[0], "seq": at[1], "upto": before}
            conn.execute(_KEEP_ROLLED, values)
            return done

    def _fallen(
        self, conn: sa.Connection, market: str, rotation: str, at: tuple[int, int], before: datetime
    ) -> Sequence[Any]:
        values = {"market": market, "rotation": rotation, "generation": at[0], "seq": at[1]}
        return conn.execute(_FALLEN, {**values, "before": before, "limit": PAGE}).all()

    # --- minimums

    def received(self, pool: str, market: str, begun: datetime) -> Sequence[tuple[int, int, datetime]]:
        """Who of the market gets leads: its id, how many of this pool since then, since when it is ours."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_RECEIVED, {"pool": pool, "market": market, "begun": begun})
            return [(row.id, row.received, row.created_at) for row in rows]

    def flag(self, pool: str, market: str, flags: Sequence[Flag]) -> bool:
        """Have exactly these members flagged in this pool; whether that is a change, which the roster then shows."""
        wanted = {(one.member, one.period) for one in flags}
        with transaction(self._engine) as conn:
            conn.execute(ONE_AT_A_TIME)
            open_ = {(row.member_id, row.period) for row in conn.execute(_OPEN_FLAGS, {"pool": pool})}
            if flags:
                conn.execute(_FLAG, [_flag(pool, market, one) for one in flags])
            if wanted == open_:
                return False
            if over := sorted(open_ - wanted):
                conn.execute(_CLEAR, [{"pool": pool, "member": member, "period": label} for member, label in over])
            conn.execute(_RAISE, {"market": market})
            record(conn, "fairturn", "minimum.flagged", pool=pool, members=[one.member for one in flags][:TOGETHER])
            return True

    def flagged(self) -> Sequence[Mapping[str, Any]]:
        """Who is flagged now, for people."""
        with transaction(self._engine) as conn:
            return [dict(row) for row in conn.execute(_FLAGS).mappings()]

    # --- rotations that are over

    def over(self, market: str, is_over: Callable[[str], bool]) -> Sequence[str]:
        """Leave the accounts of periods that ended long ago out of the next marks; their names."""
        with transaction(self._engine) as conn:
            names = [n for n in conn.execute(_MARKED, {"market": market}).scalars() if is_over(n)]
            if names:
                conn.execute(_UNMARK, {"market": market, "names": names})
                conn.execute(_FORGET, {"market": market, "names": names})
            return names


def _paid_already(conn: sa.Connection, rows: Sequence[Any]) -> dict[UUID, Correction]:
    """By offer, the correction by which its member paid, as the lead was taken from somebody who had."""
    by_id = {uuid5(before, Reason.OWNED): row.id for row in rows for before in row.before or ()}
    found = conn.execute(_THESE, {"ids": list(by_id)}) if by_id else ()
    return {
        by_id[row.id]: Correction(
            row.id, row.market, row.rotation, Effect.TAKE, "", dict(zip(row.member, row.delta, strict=True))
        )
        for row in found
    }


def _given(row: Any, moved: Correction | None) -> GivenByHand:
    place = None if row.lat is None else Point(row.lat, row.lon)
    precision = Precision(row.geo_precision) if row.geo_precision else None
    return GivenByHand(row.id, row.member_id, row.market, row.lead_id, row.pool, row.country, place, precision, moved)


def _debt(one: Return, debt: Debt) -> dict[str, Any]:
    return {
        "id": uuid5(_WINDOWS, f"absence {one.id} {debt.rotation}"),
        "absence": one.id,
        "who": one.member,
        "market": one.market,
        "rotation": debt.rotation,
        "percent": debt.percent,
        "told": debt.told,
        "member": list(debt.deltas),
        "delta": list(debt.deltas.values()),
        "parts": parts_in(debt.percent),
    }


def _part(row: Any) -> Correction:
    number = row.paid + 1
    deltas = part_of(dict(zip(row.member, row.delta, strict=True)), row.member_id, row.percent, number)
    said = f"absence: {row.told}, part {number} of {row.parts}"
    return Correction(uuid5(row.id, str(number)), row.market, row.rotation, Effect.REPAY, said, deltas)


def _undone(row: Any) -> dict[int, int]:
    if row.delta is not None:
        return {m: -delta for m, delta in zip(row.member, row.delta, strict=True)}
    if row.chosen is None:
        return {}
    return of_offer(Effect.RETURN, row.chosen, shares_of(row.member, row.weight, row.gate, row.turn))


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if timedelta(hours=1) == STEP else at


def _box(places: Sequence[Point], reach_m: float) -> dict[str, float]:
    """Degrees that hold every place within reach of any of these; whole circles where that is simpler."""
    up = reach_m / _DEGREE_M
    south, north = min(p.lat for p in places) - up, max(p.lat for p in places) + up
    narrow = max(math.cos(math.radians(min(max(abs(south), abs(north)), 89.0))), 0.017)
    west, east = min(p.lon for p in places) - up / narrow, max(p.lon for p in places) + up / narrow
    whole = west < -180 or east > 180
    return {"south": south, "north": north, "west": -180.0 if whole else west, "east": 180.0 if whole else east}


def _flag(pool: str, market: str, one: Flag) -> dict[str, Any]:
    return {
        "pool": pool,
        "market": market,
        "member": one.member,
        "period": one.period,
        "received": one.received,
        "projected": one.projected,
        "minimum": one.minimum,
        "until": one.until,
    }


_TO_COUNT = sa.text("""
    SELECT o.id, o.member_id, o.market, o.lead_id, l.pool, l.country, l.lat, l.lon, l.geo_precision,
           (SELECT array_agg(b.id) FROM offers b
            WHERE b.lead_id = o.lead_id AND b.id <> o.id AND b.ended_at <= o.offered_at
              AND b.reason = 'owned') AS before
    FROM turns_to_count x JOIN offers o ON o.id = x.offer_id JOIN leads l ON l.id = o.lead_id
    ORDER BY x.at LIMIT :limit FOR UPDATE OF x SKIP LOCKED
""")
_THESE = sa.text("""
    SELECT id, market, rotation, member, delta FROM corrections WHERE id = ANY(CAST(:ids AS uuid[])) AND effect = 'take'
    UNION ALL
    SELECT id, market, rotation, member, delta FROM turns_owed WHERE id = ANY(CAST(:ids AS uuid[])) AND effect = 'take'
""")
_COUNTED = sa.text("DELETE FROM turns_to_count WHERE offer_id = ANY(CAST(:ids AS uuid[]))")
_RETURNED = sa.text("""
    SELECT a.id, a.member_id, m.market, a.began_at, a.ended_at FROM absences a JOIN members m ON m.id = a.member_id
    WHERE a.ended_at IS NOT NULL AND a.settled_at IS NULL ORDER BY a.id LIMIT :limit
""")
_DECIDED = sa.text("""
    SELECT d.pool, d.rotation, d.ring, d.rings_m, d.member, d.weight, d.gate, d.turn, l.lat, l.lon
    FROM decisions d JOIN leads l ON l.id = d.lead_id
    WHERE d.market = :market AND d.pool = ANY(CAST(:pools AS text[])) AND d.at >= :began AND d.at < :ended
      AND d.chosen IS NOT NULL AND d.mode = 'fair' AND l.lat BETWEEN :south AND :north AND l.lon BETWEEN :west AND :east
""")
_SETTLE = sa.text("UPDATE absences SET settled_at = clock_timestamp() WHERE id = :id AND settled_at IS NULL")
_OWE_ABSENCE = sa.text("""
    INSERT INTO absence_debts (id, absence_id, member_id, market, rotation, percent, told, member, delta, parts,
                               next_at)
    VALUES (:id, :absence, :who, :market, :rotation, :percent, :told, CAST(:member AS int[]), CAST(:delta AS bigint[]),
            :parts, clock_timestamp())
    ON CONFLICT DO NOTHING
""")
_DUE = sa.text("""
    SELECT * FROM absence_debts WHERE paid < parts AND next_at <= clock_timestamp()
    ORDER BY next_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_PAID = sa.text("""
    UPDATE absence_debts SET paid = paid + 1, next_at = next_at + interval '1 day'
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")
_ROTATIONS = sa.text("""
    SELECT market, rotation, pool FROM fairness_rotations
    WHERE pool = ANY(CAST(:pools AS text[])) AND rotation NOT LIKE '%@%' ORDER BY market, rotation
""")
_ROLL_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('rolled:' || :name))")
_ROLLED = sa.text("SELECT generation, seq, upto FROM rolled WHERE market = :market AND rotation = :rotation")
_FALLEN = sa.text("""
    (SELECT generation, seq, chosen, turn, member, weight, gate, CAST(NULL AS bigint[]) AS delta FROM decisions
     WHERE market = :market AND rotation = :rotation AND (generation, seq) > (:generation, :seq) AND at < :before
       AND mode = 'fair'
     ORDER BY generation, seq LIMIT :limit)
    UNION ALL
    (SELECT generation, seq, CAST(NULL AS int), CAST(0 AS bigint), member, CAST(NULL AS int[]),
            CAST(NULL AS smallint[]), delta
     FROM corrections
     WHERE market = :market AND rotation = :rotation AND (generation, seq) > (:generation, :seq) AND at < :before
       AND effect <> 'forget'
     ORDER BY generation, seq LIMIT :limit)
    ORDER BY generation, seq LIMIT :limit
""")
_KEEP_ROLLED = sa.text("""
    INSERT INTO rolled (market, rotation, generation, seq, upto) VALUES (:market, :rotation, :generation, :seq, :upto)
    ON CONFLICT (market, rotation) DO UPDATE
    SET generation = excluded.generation, seq = excluded.seq, upto = excluded.upto
""")
_RECEIVED = sa.text("""
    SELECT m.id, m.created_at, count(o.id)::int AS received
    FROM members m LEFT JOIN (
        SELECT o.id, o.member_id FROM offers o JOIN leads l ON l.id = o.lead_id
        WHERE l.pool = :pool AND o.offered_at >= :begun AND o.state <> 'void'
    ) o ON o.member_id = m.id
    WHERE m.market = :market AND m.active AND m.present AND m.left_at IS NULL GROUP BY m.id ORDER BY m.id
""")
_OPEN_FLAGS = sa.text("SELECT member_id, period FROM minimum_flags WHERE pool = :pool AND cleared_at IS NULL")
_CLEAR = sa.text("""
    UPDATE minimum_flags SET cleared_at = clock_timestamp()
    WHERE pool = :pool AND member_id = :member AND period = :period
""")
_FLAG = sa.text("""
    INSERT INTO minimum_flags (pool, member_id, period, market, received, projected, minimum, until)
    VALUES (:pool, :member, :period, :market, :received, :projected, :minimum, :until)
    ON CONFLICT (pool, member_id, period) DO UPDATE
    SET received = excluded.received, projected = excluded.projected, minimum = excluded.minimum, cleared_at = NULL
""")
_RAISE = sa.text("UPDATE markets SET roster_version = roster_version + 1 WHERE name = :market")
_FLAGS = sa.text("""
    SELECT f.pool, m.key AS member, f.period, f.received, f.projected, f.minimum, f.until, f.flagged_at
    FROM minimum_flags f JOIN members m ON m.id = f.member_id
    WHERE f.cleared_at IS NULL ORDER BY f.pool, f.projected, m.key
""")
_MARKED = sa.text("""
    SELECT rotation FROM standing_marks WHERE market = :market AND rotation LIKE '%@%' ORDER BY rotation
""")
_UNMARK = sa.text("DELETE FROM standing_marks WHERE market = :market AND rotation = ANY(CAST(:names AS text[]))")
_FORGET = sa.text("DELETE FROM standings WHERE market = :market AND rotation = ANY(CAST(:names AS text[]))")

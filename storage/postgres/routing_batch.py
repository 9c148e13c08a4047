"""One routing batch: leads locked, planned by the caller, and everything decided written in the same transaction."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from routing.answering import TAKEN_BACK, By, work_times
from routing.batch import Known, Market, Saved
from routing.columns import WEIGHED, gather
from routing.errors import ColdTurnstile
from routing.lane import Lane
from routing.lead import Lead, Point, Precision, Reason
from routing.offer import Actor, Kind
from routing.plan import Verdict
from routing.policy import Policy
from routing.ruling import Aside, Gift
from routing.timers import to_answer
from storage.postgres import tables as t
from storage.postgres.accepting import accepted
from storage.postgres.alone import LedgerAlone
from storage.postgres.books import Shelf
from storage.postgres.decided import write_decisions
from storage.postgres.ending import tell_salesforce
from storage.postgres.engine import transaction
from storage.postgres.exhausted import to_open
from storage.postgres.quotas import take, untake
from storage.postgres.ruled import give, keep_rulings, known, set_aside
from storage.postgres.steps import note, review


@dataclass(frozen=True, slots=True)
class LockedBatch:
    """Leads nobody else can route until the transaction ends, and the versions they are routed under."""

    leads: tuple[Lead, ...]
    policy_version: int
    markets: dict[str, Market]
    _conn: sa.Connection
    _task_id: str
    _alone: LedgerAlone

    def known(self, policy: Policy) -> Known:
        """What the rules of the policy may ask of these leads."""
        now = next((m.now for m in self.markets.values() if m.now), None) or self._conn.execute(_NOW).scalar_one()
        return known(self._conn, [lead.id for lead in self.leads], policy, now)

    def save(
        self,
        verdicts: Sequence[Verdict],
        *,
        refused: Sequence[tuple[Lead, Reason]] = (),
        asides: Sequence[Aside] = (),
        gifts: Sequence[tuple[UUID, Gift]] = (),
    ) -> Saved:
        """Write offers, decisions, outbox and lead states; what the ledger refuses is left unwritten and named.

        Refused means that a member would pass its capacity: the turnstile was wrong, its caller must rebuild it.
        """
        full, ready = self._take_places(verdicts)
        if full:
            self._alone.forget()
        over = {v.plan.lead.id for v in verdicts if v.decision.chosen in full}
        spent = self._count_in_limits([v for v in verdicts if v.plan.lead.id not in over])
        kept = [v for v in verdicts if v.plan.lead.id not in over | spent]
        self._give_back([v for v in verdicts if v.plan.lead.id in over and v.decision.chosen not in full])
        self._give_back([v for v in verdicts if v.plan.lead.id in spent])
        if kept:
            self._write(kept)
        if ready:
            self._accept_at_once([v for v in kept if v.decision.chosen in ready])
        by_reason: dict[Reason, list[int]] = {}
        for lead, reason in refused:
            by_reason.setdefault(reason, []).append(lead.id)
        for reason, ids in by_reason.items():
            review(self._conn, ids, reason, self._task_id)
        set_aside(self._conn, asides, self._task_id, self.policy_version)
        give(self._conn, gifts, self._task_id, self.policy_version)
        return Saved(
            kept=tuple(kept),
            over=tuple(v for v in verdicts if v.plan.lead.id in over and not v.plan.slot),
            spent=tuple(v for v in verdicts if v.plan.lead.id in spent),
        )

    def _take_places(self, verdicts: Sequence[Verdict]) -> tuple[set[int], set[int]]:
        """Count the chosen members up, under guard: those who would pass their capacity, and those who accept all."""
        chosen = sorted((v.decision.chosen, v.decision.units) for v in verdicts if v.decision.chosen is not None)
        if not chosen:
            return set(), set()
        ids = [member for member, _ in chosen]
        self._conn.execute(_LOCK_MEMBERS, {"ids": ids})
        places = {"ids": ids, "units": [units for _, units in chosen]}
        taken = {row.id: row.auto_accept for row in self._conn.execute(_TAKE_PLACES, places)}
        return {*ids}.difference(taken), {member for member, ready in taken.items() if ready}

    def _count_in_limits(self, verdicts: Sequence[Verdict]) -> set[int]:
        """Count the offers in their limits, under guard: the leads of those that would pass one.

        Of several offers of one lead none is kept then; what the others took of limits is given back.
        """
        refused = take(self._conn, [v.decision for v in verdicts])
        if not refused:
            return set()
        self._alone.forget()
        leads = {v.plan.lead.id for v in verdicts if v.decision.id in refused}
        counted = [v.decision for v in verdicts if v.plan.lead.id in leads and v.decision.id not in refused]
        untake(self._conn, counted)
        return leads

    def _give_back(self, verdicts: Sequence[Verdict]) -> None:
        """Give back the places of members with room, where others who were asked for the same lead had none."""
        given = [(v.decision.chosen, v.decision.units) for v in verdicts if v.decision.chosen is not None]
        if given:
            self._conn.execute(_GIVE_BACK, {"ids": [m for m, _ in given], "units": [units for _, units in given]})

    def _write(self, verdicts: Sequence[Verdict]) -> None:
        conn = self._conn
        write_decisions(conn, [v.decision for v in verdicts])
        offered = [v for v in verdicts if v.decision.chosen is not None]
        if offered:
            conn.execute(_OFFER, _offers(offered))
            if again := [v.decision.id for v in offered if v.kind is Kind.SECOND]:
                conn.execute(_USE_CHANCES, {"ids": again})
        told = [v for v in verdicts if v.decision.chosen is not None or v.waits]
        settled = [v for v in told if not v.plan.slot]
        if settled:
            conn.execute(_SETTLE, _states(settled, told))
        over = [v for v in verdicts if v.decision.chosen is None and not v.waits]
        opened = to_open(conn, [v.plan.lead.id for v in over if v.plan.pool.answering.open_for], self._task_id)
        reviewed = [v for v in over if v.plan.lead.id not in opened]
        for reason in {v.reason for v in reviewed if v.reason}:
            review(conn, [v.plan.lead.id for v in reviewed if v.reason is reason], reason, self._task_id)
        keep_rulings(conn, verdicts, self._task_id, self.policy_version)
        tell_salesforce(conn, [v.plan.lead.id for v in settled])
        entries = [_entry(v, alone=self.markets[v.plan.pool.market].alone is not None) for v in told]
        note(conn, entries, self._task_id, policy_version=self.policy_version)

    def _accept_at_once(self, verdicts: Sequence[Verdict]) -> None:
        """Accept the offers of members who accept whatever they are offered: made and accepted as any other.

        Of several who were asked for a lead at once, the first of these has it.
        """
        rows: dict[str, list[Any]] = {"ids": [], "until": [], "warn": []}
        first = {v.plan.lead.id: v for v in sorted(verdicts, key=lambda v: v.plan.slot, reverse=True)}
        for verdict in first.values():
            until, warn = work_times(verdict.decision.at, verdict.plan.pool.answering)
            for name, value in (("ids", verdict.decision.id), ("until", until), ("warn", warn)):
                rows[name].append(value)
        taken = [(row.id, row.lead_id, row.member_id) for row in self._conn.execute(_ACCEPT, rows)]
        several = any(v.plan.pool.answering.fan_out > 1 for v in first.values())
        accepted(self._conn, taken, By(Actor.FAIRTURN, task_id=self._task_id), others=several)


@contextmanager
def routing_batch(
    engine: sa.Engine,
    ids: Sequence[int],
    *,
    woken: bool = False,
    task_id: str = "",
    shelf: Shelf | None = None,
    usable: Callable[[int], int] = lambda version: version,
) -> Iterator[LockedBatch]:
    """Lock those of the leads that are new (or, when `woken`, waiting) and free, best priority, then oldest, first.

    They are routed under the policy in force, or under the one that is `usable` in its place.

    The turnstile's generation cannot change until the transaction ends. Where the turnstile is away, the market
    brings the ledger as its decider. Raises ColdTurnstile when it went or came back at this very moment.
    """
    with transaction(engine) as conn:
        alone = LedgerAlone(conn, shelf or Shelf())
        markets = _held(conn, alone)
        version = usable(conn.execute(_POLICY_VERSION).scalar() or 0)
        rows = conn.execute(_LOCK_LEADS, {"ids": list(ids), "woken": woken}).mappings().all()
        again = [r["id"] for r in rows if r["attempt"] > 1]
        past = {row.lead_id: row for row in conn.execute(_TRIED, {"ids": again, "back": _BACK})} if again else {}
        leads = tuple(_lead(r, past.get(r["id"])) for r in rows)
        yield LockedBatch(leads, version, markets, conn, task_id, alone)


def waiting_leads(conn: sa.Connection, ids: Sequence[int]) -> list[Lead]:
    """These leads as far as they wait, without a lock."""
    rows = conn.execute(_WAITING_LEADS, {"ids": list(ids)}).mappings().all()
    past = {row.lead_id: row for row in conn.execute(_TRIED, {"ids": list(ids), "back": _BACK})}
    return [_lead(row, past.get(row["id"])) for row in rows]


def _held(conn: sa.Connection, alone: LedgerAlone) -> dict[str, Market]:
    """Every market; the generation of those the turnstile decides for is held."""
    held = {row.name for row in conn.execute(_HOLD_GENERATION)}
    markets: dict[str, Market] = {}
    for row in conn.execute(_MARKETS):
        if (row.name in held) == row.alone:
            raise ColdTurnstile(market=row.name)
        decider = alone if row.alone else None
        markets[row.name] = Market(row.name, row.roster_version, row.generation, decider, row.now)
    return markets


def _lead(row: sa.RowMapping, past: sa.Row[Any] | None) -> Lead:
    return Lead(
        id=row["id"],
        received_at=row["received_at"],
        country=row["country"],
        place=Point(row["lat"], row["lon"]),
        precision=Precision(row["geo_precision"]) if row["geo_precision"] else None,
        priority=row["priority"],
        attempt=row["attempt"],
        tried=frozenset(past.members) if past else frozenset(),
        version=row["version"],
        moves=row["moves"],
        lane=Lane(row["lane"]),
        lapsed=frozenset(past.lapsed or ()) if past else frozenset(),
        chances=tuple(past.chances or ()) if past else (),
        taken_back=frozenset(past.back or ()) if past else frozenset(),
    )


def _offers(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    decisions = [v.decision for v in verdicts]
    (member, distance_m, *_), sizes = gather(WEIGHED, [d.weighed for d in decisions])
    chosen = np.repeat(np.array([d.chosen for d in decisions]), sizes)
    times = [to_answer(v.answering, v.decision.at, v.plan.lead.lane) for v in verdicts]
    return {
        "ids": [d.id for d in decisions],
        "leads": [d.lead for d in decisions],
        "members": [d.chosen for d in decisions],
        "markets": [d.market for d in decisions],
        "attempts": [d.attempt for d in decisions],
        "distances": distance_m[member == chosen].tolist(),
        "rings": [d.rings_m[d.ring or 0] for d in decisions],
        "made": [d.at for d in decisions],
        "ends": [one.due for one in times],
        "reminds": [one.remind_at for one in times],
        "kinds": [str(v.kind) for v in verdicts],
        "slots": [v.plan.slot for v in verdicts],
        "units": [d.units for d in decisions],
        "kept": [any(one.kept for one in d.uses) for d in decisions],
    }


def _states(verdicts: Sequence[Verdict], told: Sequence[Verdict]) -> dict[str, Any]:
    last = {v.plan.lead.id: v.plan.lead.attempt for v in told}  # of those asked at once, each has an attempt
    return {
        "attempts": [last[v.plan.lead.id] for v in verdicts],
        "ids": [v.plan.lead.id for v in verdicts],
        "states": ["waiting" if v.waits else "offered" for v in verdicts],
        "reasons": [str(v.reason) if v.reason else None for v in verdicts],
        "pools": [v.plan.pool.name for v in verdicts],
        "nearest": [v.plan.nearest_m for v in verdicts],
        "rungs": [v.plan.rung if v.waits else None for v in verdicts],
        "units": [v.decision.units for v in verdicts],
        "next": [_next_try(v) for v in verdicts],
    }


def _next_try(v: Verdict) -> datetime | None:
    """When a limit that stopped somebody lets go at the earliest; None: it waits for a change."""
    if not v.waits or not v.decision.stops:
        return None
    return datetime.fromtimestamp(min(stop.until for stop in v.decision.stops.values()), UTC)


def _entry(v: Verdict, *, alone: bool) -> tuple[int, str, dict[str, Any]]:
    d = v.decision
    by = {"by": "ledger"} if alone else {}
    if d.chosen is None:
        return d.lead, "waiting", {"decision": str(d.id), "reason": d.reason, "nearest_m": d.nearest_m, **by}
    ms = (d.at - v.plan.lead.received_at) / timedelta(milliseconds=1)
    ring = d.rings_m[d.ring] if d.ring is not None else None
    return (
        d.lead,
        "offered",
        {"offer": str(d.id), "member": d.chosen, "ring_m": ring, "since_received_ms": round(ms), **by},
    )


# Each member's notices were counted up as its places were taken, so theirs are the last numbers.
_OFFER = sa.text("""
    WITH made AS (
        INSERT INTO offers (id, lead_id, member_id, market, attempt, distance_m, ring_m, offered_at, expires_at,
                            remind_at, kind, slot, units, counts_kept)
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:leads AS bigint[]), CAST(:members AS int[]),
                             CAST(:markets AS text[]), CAST(:attempts AS int[]), CAST(:distances AS real[]),
                             CAST(:rings AS float8[]), CAST(:made AS timestamptz[]), CAST(:ends AS timestamptz[]),
                             CAST(:reminds AS timestamptz[]), CAST(:kinds AS text[]), CAST(:slots AS smallint[]),
                             CAST(:units AS int[]), CAST(:kept AS boolean[]))
        RETURNING id, lead_id, member_id
    )
    INSERT INTO notices (member_id, number, offer_id, lead_id, what)
    SELECT m.id, m.notices + 1 - row_number() OVER (PARTITION BY m.id ORDER BY made.id DESC), made.id, made.lead_id,
           'offer.created'
    FROM made JOIN members m ON m.id = made.member_id
""")
_ACCEPT = sa.text("""
    UPDATE offers SET state = 'accepted', accepted_at = offered_at, worked_at = offered_at, version = version + 1,
           work_by = a.until, remind_at = a.warn, reminded = 0
    FROM unnest(CAST(:ids AS uuid[]), CAST(:until AS timestamptz[]), CAST(:warn AS timestamptz[])) AS a(id, until, warn)
    WHERE offers.id = a.id RETURNING offers.id, lead_id, member_id
""")
_USE_CHANCES = sa.text("""
    UPDATE chances SET used_at = clock_timestamp() FROM offers o
    WHERE o.id = ANY(CAST(:ids AS uuid[])) AND chances.lead_id = o.lead_id AND chances.member_id = o.member_id
""")
_HOLD_GENERATION = sa.text("""
    SELECT name, pg_advisory_xact_lock_shared(hashtext('turnstile:' || name))
    FROM (SELECT name FROM markets WHERE alone_since IS NULL ORDER BY name) AS m
""")
_MARKETS = sa.select(
    t.markets.c.name,
    t.markets.c.roster_version,
    t.markets.c.generation,
    t.markets.c.alone_since.is_not(None).label("alone"),
    sa.func.clock_timestamp().label("now"),
)
_POLICY_VERSION = sa.select(t.policies.c.version).where(t.policies.c.state == "published")
_LOCK_LEADS = sa.text("""
    SELECT id, received_at, country, lat, lon, geo_precision, priority, attempt, version, moves, lane FROM leads
    WHERE id = ANY(CAST(:ids AS bigint[])) AND lat IS NOT NULL AND NOT dirty
      AND (state = 'new' OR (state = 'waiting' AND reason NOT IN ('open_pool', 'held')
                             AND (:woken OR next_try_at <= clock_timestamp())))
    ORDER BY rank DESC, received_at, id FOR UPDATE SKIP LOCKED
""")
_WAITING_LEADS = sa.text("""
    SELECT id, received_at, country, lat, lon, geo_precision, priority, attempt, version, moves, lane FROM leads
    WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'waiting' AND lat IS NOT NULL
""")
_BACK = list(TAKEN_BACK)
_NOW = sa.text("SELECT clock_timestamp()")
_TRIED = sa.text("""
    SELECT lead_id, array_agg(member_id) AS members, array_agg(member_id) FILTER (WHERE lapsed) AS lapsed,
           array_agg(member_id) FILTER (WHERE back) AS back,
           (SELECT array_agg(c.member_id ORDER BY c.asked_at, c.member_id) FROM chances c
            WHERE c.lead_id = tried.lead_id AND c.used_at IS NULL) AS chances
    FROM (
        SELECT lead_id, member_id, count(*) = 1 AND bool_and(state = 'expired') AS lapsed,
               bool_and(state = 'withdrawn' AND reason = ANY(CAST(:back AS text[]))) AS back
        FROM offers
        WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND state <> 'void' GROUP BY lead_id, member_id
    ) tried GROUP BY lead_id
""")
_LOCK_MEMBERS = sa.text("SELECT 1 FROM members WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR UPDATE")
_TAKE_PLACES = sa.text("""
    UPDATE members SET open = open + g.units, notices = notices + g.n
    FROM (SELECT id, count(*)::int AS n, sum(units)::int AS units
          FROM unnest(CAST(:ids AS int[]), CAST(:units AS int[])) AS x(id, units) GROUP BY id) g
    WHERE members.id = g.id AND members.open + g.units <= coalesce(
        members.capacity,
        (SELECT capacity FROM tiers WHERE name = members.tier),
        (SELECT capacity FROM tiers WHERE name = ''))
    RETURNING members.id, members.auto_accept
""")
_GIVE_BACK = sa.text("""
    UPDATE members SET open = open - g.units, notices = notices - g.n
    FROM (SELECT id, count(*)::int AS n, sum(units)::int AS units
          FROM unnest(CAST(:ids AS int[]), CAST(:units AS int[])) AS x(id, units) GROUP BY id) g
    WHERE members.id = g.id
""")
_SETTLE = sa.text("""
    UPDATE leads SET state = s.state, reason = s.reason, pool = s.pool, nearest_m = s.nearest, rung = s.rung,
           attempt = s.attempt, units = s.units, version = version + 1, next_try_at = s.next,
           nudged_at = NULL, updated_at = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:pools AS text[]),
                CAST(:nearest AS real[]), CAST(:rungs AS smallint[]), CAST(:attempts AS int[]), CAST(:units AS int[]),
                CAST(:next AS timestamptz[]))
         AS s(id, state, reason, pool, nearest, rung, attempt, units, next)
    WHERE leads.id = s.id
""")

"""How a simulated house stands, as plain values: written down, and gone on from by whoever comes next."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from routing.lane import Lane
from routing.lead import LeadState, Reason, Ruled
from routing.offer import OPEN, Kind, OfferState
from routing.ports import Snapshot, Standing
from routing.simulation.happenings import Happens, accepted
from routing.simulation.rows import LeadRow, OfferRow

if TYPE_CHECKING:
    from routing.simulation.world import World

#: These are over, whatever happens to the lead elsewhere.
OVER = frozenset({LeadState.DONE, LeadState.REVIEW, LeadState.WITHDRAWN})


def taken(world: "World") -> dict[str, Any]:
    """Everything to go on from; what was on its way is done first: places are freed, turns set right."""
    _finish(world)
    ledger = world.ledger
    known = {one.lead.id for one in world.past.leads}
    alive = {i: row for i, row in ledger.leads.items() if row.state not in OVER}
    mine = {i for row in alive.values() for i in row.offers}
    return {
        "at": world.now,
        "ids": world.ids,
        "leads": [_lead(row) for row in alive.values()],
        "over": sorted(i for i, row in ledger.leads.items() if row.state in OVER and i in known),
        "offers": [_offer(ledger.offers[i]) for i in sorted(mine)],
        "shares": {str(i): list(ledger.shares[i]) for i in sorted(mine) if i in ledger.shares},
        "markets": {market: _books(world, market) for market in ledger.markets},
    }


def resume(world: "World", told: Mapping[str, Any]) -> set[int]:
    """Put everything back as it was; the leads that are known by it."""
    ledger = world.ledger
    leads = {one.lead.id: one.at(world.past.since) for one in world.past.leads}
    offers = {UUID(one["id"]): _offer_of(one) for one in told["offers"]}
    world.ids = told["ids"]
    for i, (rotation, chosen, shares) in told["shares"].items():
        ledger.shares[UUID(i)] = rotation, chosen, {int(m): share for m, share in shares.items()}
    for one in told["leads"]:
        if one["id"] not in leads:
            continue  # it is gone from the ledger, or out of sight for good
        row = LeadRow(leads[one["id"]], **_fields(one))
        ledger.add(row)
        for offer in (offers[UUID(i)] for i in one["offers"]):
            _put(world, offer)
        if row.state is LeadState.NEW:
            world.at(world.now, Happens.ARRIVAL, one["id"])
        if row.next_try is not None:
            world.at(row.next_try, Happens.DUE, one["id"])
        if row.open_until is not None:
            world.at(row.open_until, Happens.SHUT, one["id"])
    for i in told["over"]:
        if i in leads:
            ledger.add(LeadRow(leads[i], LeadState.REVIEW, Reason.EXHAUSTED))
    return {one["id"] for one in told["leads"]} | set(told["over"])


def books_of(told: Mapping[str, Any]) -> dict[str, Snapshot]:
    """The accounts by market."""
    return {
        market: Snapshot(
            0,
            0,
            {},
            {r: {int(m): Standing(*a) for m, a in accounts.items()} for r, accounts in one["standings"].items()},
            one["ticks"],
            one["cursors"],
            uses={c: {int(b): n for b, n in book.items()} for c, book in one["uses"].items()},
        )
        for market, one in told["markets"].items()
    }


def _finish(world: "World") -> None:
    """Let places be freed, turns be set right and leads go on, without the lag that they have otherwise."""
    for _ in range(50):
        ready = [
            e for e in world.pending() if e[1] in {Happens.CORRECTION, Happens.FREE, Happens.ARRIVAL, Happens.FILL}
        ]
        due = [e for e in ready if e[0] <= world.now + 4 * world.script.lag]
        if not due:
            return
        world.run(max(e[0] for e in due) + 1)


def _put(world: "World", offer: OfferRow) -> None:
    if offer.state not in OPEN:
        world.ledger.remember(offer)
        return
    world.ledger.hold(offer)
    if offer.state is OfferState.OFFERED:
        world.expect(offer)
    else:
        world.expect(offer)
        if offer.id not in world.replies:
            accepted(world, offer)


def _lead(row: LeadRow) -> dict[str, Any]:
    ruled = row.ruled
    return {
        "id": row.lead.id,
        "state": str(row.state),
        "reason": None if row.reason is None else str(row.reason),
        "attempt": row.attempt,
        "moves": row.moves,
        "lane": int(row.lane),
        "pool": row.pool,
        "rung": row.rung,
        "units": row.units,
        "rank": row.rank,
        "score": row.score,
        "rule": row.rule,
        "basket": row.basket,
        "ruled": {
            "released": sorted(ruled.released),
            "passed": dict(ruled.passed),
            "waits": {rule: at.isoformat() for rule, at in ruled.waits.items()},
            "searched": None if ruled.searched is None else [ruled.searched[0], ruled.searched[1].isoformat()],
            "dropped": list(ruled.dropped),
        },
        "next_try": row.next_try,
        "open_until": row.open_until,
        "offers": [str(i) for i in row.offers],
        "queued": list(row.queued),
    }


def _fields(one: Mapping[str, Any]) -> dict[str, Any]:
    ruled = one["ruled"]
    searched = ruled["searched"]
    same = ("attempt", "moves", "pool", "rung", "units", "rank", "score", "rule", "basket", "next_try", "open_until")
    return {name: one[name] for name in same} | {
        "state": LeadState(one["state"]),
        "reason": None if one["reason"] is None else Reason(one["reason"]),
        "lane": Lane(one["lane"]),
        "queued": list(one["queued"]),
        "ruled": Ruled(
            frozenset(ruled["released"]),
            ruled["passed"],
            {rule: datetime.fromisoformat(at) for rule, at in ruled["waits"].items()},
            None if searched is None else (searched[0], datetime.fromisoformat(searched[1])),
            tuple(ruled["dropped"]),
        ),
    }


def _offer(row: OfferRow) -> dict[str, Any]:
    told = asdict(row) | {"id": str(row.id), "state": str(row.state), "kind": str(row.kind)}
    del told["uses"]  # limits that give back what is not kept forget these with the house
    return told


def _offer_of(told: Mapping[str, Any]) -> OfferRow:
    return OfferRow(**{**told, "id": UUID(told["id"]), "state": OfferState(told["state"]), "kind": Kind(told["kind"])})


def _books(world: "World", market: str) -> dict[str, Any]:
    held = world.turnstile.held(market)
    return {
        "standings": {
            name: {
                str(m): [book.standing.get(m, 0), book.served.get(m, 0)]
                for m in sorted(book.standing.keys() | book.served.keys())
            }
            for name, book in held.books.items()
        },
        "ticks": {name: book.tick for name, book in held.books.items()},
        "cursors": {name: book.cursor for name, book in held.books.items()},
        "uses": {c: {str(b): n for b, n in book.items()} for c, book in held.uses.items()},
    }

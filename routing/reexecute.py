"""Makes a past decision again from what was kept: the lead, the policy, the roster, and what the turnstile saw.

It is sent through the same dispatcher as when it was made, with a ledger of this one lead and a turnstile that sees
what it saw; nothing is looked up anywhere else.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import numpy as np

from routing import fairness
from routing.batch import Batch, Known, Market, Saved
from routing.columns import WEIGHED, gather
from routing.decision import Ask, Decision, Gate, Grant
from routing.dispatcher import Dispatcher, Ledger, Stand
from routing.errors import BadInput
from routing.explained import canonical, explanation
from routing.fairness import Book
from routing.given import LEAD, SET_BY, lead_of
from routing.lead import Lead
from routing.limits import Check, Stop, read_stops, read_uses, written_stops, written_uses
from routing.member import Columns, Roster
from routing.plan import EPOCH, Plan, Verdict
from routing.policy import Policy
from routing.ports import Turnstile
from routing.verify import Past

_EXPORT_ANEW = "Export the bundle once more."
#: Distances are kept to a decimetre; two that differ by no more lie on both sides of its rounding.
EDGE_M = 0.15


@dataclass(frozen=True, slots=True)
class Remade:
    """A decision, and the same made again."""

    stored: bytes  # its explanation
    again: bytes
    differences: tuple[str, ...]  # by name: what was, and what comes out now

    @property
    def same(self) -> bool:
        return self.stored == self.again


def remake(past: Past, policy: Policy, roster: Roster, *, cursor: int = 0) -> Remade:
    """The decision made again, compared with what was kept of it byte for byte."""
    stored = canonical(explanation(past, cursor=cursor))
    if LEAD not in past.inputs:
        return Remade(stored, b"", ("it was made before inputs were kept",))
    made = made_again(past, policy, roster, cursor=cursor)
    if made is None:
        return Remade(stored, b"", ("no decision comes out of it now",))
    again = canonical(explanation(made, cursor=cursor))
    return Remade(stored, again, tuple(_differences(past, made)) if stored != again else ())


def made_again(past: Past, policy: Policy, roster: Roster, *, cursor: int = 0) -> Past | None:
    """What comes out now; None when no decision does."""
    told = cast("Mapping[str, Any]", past.inputs[LEAD])
    # Of several who were asked at once, each has an attempt; what the rules said of the first holds for all of them.
    attempt = past.attempt - int(told.get("slot", 0))
    lead = lead_of(past.inputs, id=past.lead_id, attempt=attempt, at=past.at)
    if boosted := told.get("boosted"):
        roster = Roster(roster.market, roster.version, roster.columns, boosted={past.pool: frozenset(boosted)})
    ledger = _Ledger(past, lead, policy, roster)
    turnstile = _Turnstile(past, cursor, attempt)
    _Dispatcher(ledger, turnstile, past.id).route([lead.id], woken=bool(told.get("wide")))
    found = [v.decision for v in ledger.verdicts if v.decision.attempt == attempt]
    if not found:
        return None
    new = {SET_BY} - past.inputs.keys()  # an older decision did not keep it
    inputs = {name: one for name, one in found[0].inputs.items() if name not in new}
    return past_of(replace(found[0], attempt=past.attempt, inputs=inputs), slot=told)


def past_of(made: Decision, slot: Mapping[str, Any]) -> Past:
    """A decision as the ledger would keep it: distances in single precision, inputs as they are written."""
    columns, _ = gather(WEIGHED, [made.weighed])
    names = ("member", "distance_m", "member_ring", "weight", "capacity", "tier_rank", "gate", "open", "standing")
    rows: dict[str, Any] = {name: one.tolist() for name, one in zip((*names, "served"), columns, strict=True)}
    rows["distance_m"] = [_single(one) for one in rows["distance_m"]]
    same = {one.name for one in fields(Past)} & {one.name for one in fields(Decision)}
    values = {name: getattr(made, name) for name in same} | rows
    values["inputs"] = _as_asked(dict(made.inputs), slot)
    values["stops"], values["uses"] = written_stops(made.stops), written_uses(made.uses)
    values["mode"] = str(made.mode)
    values["reason"] = str(made.reason)
    values["nearest_m"] = None if made.nearest_m is None else _single(made.nearest_m)
    return Past(**(values | {"lead_id": made.lead}))


def _as_asked(inputs: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """One of several who were asked at once is made again by itself: its number among them is taken as told."""
    inputs[LEAD] = inputs[LEAD] | {name: asked[name] for name in ("slot", "rung", "wide") if name in asked}
    return inputs


def _single(value: float) -> float:
    """The shortest number that is the same in single precision: as Postgres tells it."""
    return float(str(np.float32(value)))


# --- the neighbours of one decision


class _Dispatcher(Dispatcher):
    """The dispatcher, which tells the turnstile for which pool it asks: a lead may have gone through several."""

    def __init__(self, ledger: "_Ledger", turnstile: "_Turnstile", offer: UUID) -> None:
        super().__init__(ledger=cast("Ledger", ledger), turnstile=cast("Turnstile", turnstile), new_id=lambda: offer)
        self._sees = turnstile

    def _reserve(self, market: Market, plans: Sequence[Plan], release: Sequence[UUID]) -> list[Grant]:
        self._sees.pool = next((plan.pool.name for plan in plans), "")  # they are all of the one lead
        return super()._reserve(market, plans, release)


@dataclass
class _Batch:
    """The lead, under lock as it was."""

    leads: tuple[Lead, ...]
    policy_version: int
    markets: dict[str, Market]
    facts: Known
    verdicts: list[Verdict] = field(default_factory=list)

    def known(self, _policy: Policy) -> Known:
        return self.facts

    def save(self, verdicts: Sequence[Verdict], **_others: object) -> Saved:
        self.verdicts += verdicts
        return Saved(kept=tuple(verdicts), over=())


class _Ledger:
    """Knows one lead, one policy and one roster."""

    def __init__(self, past: Past, lead: Lead, policy: Policy, roster: Roster) -> None:
        self._past, self._lead, self._policy, self._roster = past, lead, policy, roster
        self.verdicts: list[Verdict] = []

    @contextmanager
    def batch(self, ids: Sequence[int], **_how: object) -> Iterator[Batch]:
        past, inputs = self._past, cast("Mapping[str, Any]", self._past.inputs)
        now = datetime.fromisoformat(inputs["now"]) if "now" in inputs else past.at
        others = {pool.market: Market(pool.market, 0, past.generation, now=now) for pool in self._policy.pools}
        mine = Market(past.market, past.roster_version, past.generation, now=now)
        facts = {past.lead_id: self._lead.facts}
        known = Known(now, facts, {past.lead_id: self._lead.ruled}, inputs.get("best_above"))
        made = _Batch(
            (self._lead,) if ids else (), past.policy_version, others | {past.market: mine}, known, self.verdicts
        )
        yield cast("Batch", made)

    def policy(self, _version: int) -> Policy:
        return self._policy

    def roster(self, market: str, **_how: object) -> Roster:
        return self._roster if market == self._roster.market else Roster(market, 0)

    def standing_at(self, _market: str) -> Stand:
        return Stand(self._past.policy_version, self._past.roster_version, self._past.generation)

    def wake(self, _ids: Sequence[int]) -> int:
        return 0


class _Turnstile:
    """Sees of each member what was seen, and of anybody else that it is full; in other pools nobody has room."""

    def __init__(self, past: Past, cursor: int, attempt: int) -> None:
        self._past, self._attempt = past, attempt
        self.pool = past.pool  # for which it is asked
        self._open = dict(zip(past.member, past.open, strict=True))
        self._book = Book(
            standing=dict(zip(past.member, past.standing, strict=True)),
            served=dict(zip(past.member, past.served, strict=True)),
            cursor=cursor,
        )
        gates = dict(zip(past.member, past.gate, strict=True))
        self._stopped = {member for member, gate in gates.items() if gate == Gate.QUOTA}

    def reserve(self, _market: str, asks: Sequence[Ask], **_how: object) -> list[Grant]:
        return [self._answer(ask) for ask in asks]

    def settle(self, _market: str, **_how: object) -> None:
        """Nothing is held here."""

    def open_counts(self, _market: str) -> dict[int, int]:
        return self._open

    def _answer(self, ask: Ask) -> Grant:
        past = self._past
        opens = {c.member: self._open.get(c.member, c.capacity) for g in ask.groups for c in g.candidates}
        stops, uses = self._limits(ask)
        asked = Ask(ask.lead, ask.attempt, past.id, ask.mode, ask.groups, ask.last, ask.units, ask.turn, limits=stops)
        mine = ask.attempt == self._attempt and self.pool == past.pool
        outcome = fairness.decide(asked, opens if mine else {}, lambda _: self._book, uses)
        chosen = outcome.verdict.chosen if outcome.verdict and mine else None
        at_us = (past.at - EPOCH) // timedelta(microseconds=1)
        return Grant(
            ask.lead,
            ask.attempt,
            past.id,
            chosen,
            outcome.group if mine else None,
            past.seq if chosen is not None or ask.last else 0,
            at_us,
            outcome.sights,
            stops=outcome.stops,
            uses=read_uses(past.uses) if chosen == past.chosen else (),
        )

    def _limits(self, ask: Ask) -> tuple[dict[int, tuple[Check, ...]], dict[str, dict[int, int]]]:
        """Limits that stop whom a limit stopped, with the numbers that were seen."""
        seen = read_stops(self._past.stops)
        stops = {
            member: seen.get(member, Stop("", 1, 0, 0))
            for member in self._stopped.intersection(c.member for g in ask.groups for c in g.candidates)
        }
        checks: dict[int, tuple[Check, ...]] = {
            member: (Check(stop.limit, f"of {member}", 0, 1, stop.until, 0, most=stop.most),)
            for member, stop in stops.items()
        }
        return checks, {f"of {member}": {0: stop.used} for member, stop in stops.items()}


# --- what differs


def _differences(past: Past, made: Past) -> Iterator[str]:
    before, after = explanation(past), explanation(made)
    for name, was in before.items():
        if name != "candidates" and canonical({"": was}) != canonical({"": after[name]}):
            yield f"{name}: was {was}, comes out as {after[name]}"
    was_at = {one["member"]: one for one in before["candidates"]}
    now_at = {one["member"]: one for one in after["candidates"]}
    for member in [*was_at, *(m for m in now_at if m not in was_at)]:
        if member not in now_at or member not in was_at:
            yield f"member {member}: was {'not ' * (member not in was_at)}a candidate"
            continue
        yield from _of_candidate(member, was_at[member], now_at[member])
    if list(was_at) != list(now_at) and was_at.keys() == now_at.keys():
        yield "the same candidates were in another order"


def _of_candidate(member: int, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, value in was.items():
        if canonical({"": value}) == canonical({"": now[name]}):
            continue
        edge = name == "distance_m" and abs(value - now[name]) <= EDGE_M
        note = " (it lies on the edge of rounding to a decimetre)" if edge else ""
        yield f"member {member}, {name}: was {value}, comes out as {now[name]}{note}"


# --- in one file


def roster_to_json(roster: Roster) -> dict[str, Any]:
    """A roster in plain values."""
    columns = {one.name: getattr(roster.columns, one.name) for one in fields(Columns)}
    return {
        "market": roster.market,
        "version": roster.version,
        "columns": {name: _plain(column) for name, column in columns.items()},
    }


def roster_of_json(told: Mapping[str, Any]) -> Roster:
    """The roster that was written so."""
    empty = Columns.of(())
    made: dict[str, Any] = {}
    for one in fields(Columns):
        column, kind = told["columns"].get(one.name), getattr(empty, one.name)
        made[one.name] = np.array(column, dtype=kind.dtype) if hasattr(kind, "dtype") and column is not None else column
    return Roster(told["market"], told["version"], Columns(**made))


def past_to_json(past: Past) -> dict[str, Any]:
    """A decision in plain values."""
    told = {one.name: getattr(past, one.name) for one in fields(Past)}
    return told | {"id": str(past.id), "at": past.at.isoformat()}


def past_of_json(told: Mapping[str, Any]) -> Past:
    """The decision that was written so."""
    return Past(**{**told, "id": UUID(told["id"]), "at": datetime.fromisoformat(told["at"])})


def _plain(column: Any) -> Any:
    return column.tolist() if hasattr(column, "tolist") else column if column is None else list(column)


#: Reads a policy's document: config.policy.parse, with what its tables and areas hold.
Parse = Callable[[Mapping[str, Any], int], Policy]


def remake_bundle(bundle: Mapping[str, Any], parse: Parse) -> Remade:
    """Make the decision of a bundle again, without any server."""
    policy = parse(bundle["policy"]["document"], bundle["policy"]["version"])
    return remake(past_of_json(bundle["decision"]), policy, roster_of_json(bundle["roster"]), cursor=bundle["cursor"])


def with_digest(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle with the digest of all of it, by which damage on its way is seen, also where no decision looked."""
    return {**bundle, "sha256": _digest(bundle)}


def is_whole(bundle: Mapping[str, Any]) -> bool:
    """Whether it says what it said when it was exported. It is no seal: who changes it may write another digest."""
    return bundle.get("sha256") == _digest({name: value for name, value in bundle.items() if name != "sha256"})


def _digest(bundle: Mapping[str, Any]) -> str:
    read = json.loads(json.dumps(bundle))  # as whoever gets it reads it
    return sha256(json.dumps(read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def contents_of(bundle: Mapping[str, Any]) -> Callable[[str], bytes]:
    """What the tables and areas of a bundle's policy hold, by digest."""
    kept = {digest: base64.b64decode(text) for digest, text in bundle.get("contents", {}).items()}
    for digest, body in kept.items():
        if digest != f"sha256:{sha256(body).hexdigest()}":
            raise BadInput("a table or an area in it is not what its digest says", field=digest, fix=_EXPORT_ANEW)
    return kept.__getitem__

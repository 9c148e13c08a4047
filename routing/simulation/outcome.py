"""What a stretch of time came to, member by member and area by area; the same arithmetic for history and for drafts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from routing.fairness import TURN, Deviation
from routing.fairness import Verdict as Turn
from routing.offer import OfferState
from routing.policy import Mode
from routing.simulation.past import MemberFacts, Past, PastCorrection, PastDecision, PastLead, moment, us
from routing.simulation.world import World, begun

_MINUTE = 60_000_000
_MILE_M = 1609.344
#: Areas are named by so many characters of the postal code.
PREFIX = 3


@dataclass(frozen=True, slots=True)
class Told:
    """An offer as it counts here; times in microseconds since 1970."""

    lead: int
    member: int
    offered: int
    accepted: int | None
    state: OfferState
    distance_m: float
    ring: str = ""


@dataclass(slots=True)
class Sum:
    """Offers of one member, or leads of one area, added up."""

    leads: int = 0
    offers: int = 0
    accepts: int = 0
    rejects: int = 0
    silent: int = 0  # offers that nobody answered
    returned: int = 0  # offers that were accepted and given back: their leads went on
    missed: int = 0  # leads that nobody had accepted by the end
    wait_min: list[float] = field(default_factory=list)  # from a lead's arrival to its acceptance
    miles: list[float] = field(default_factory=list)

    def add(self, offer: Told, received: int) -> None:
        self.offers += 1
        self.miles.append(offer.distance_m / _MILE_M)
        self.rejects += offer.state is OfferState.REJECTED
        self.silent += offer.state is OfferState.EXPIRED
        self.returned += offer.state is OfferState.RETURNED
        if offer.accepted is not None:
            self.accepts += 1
            self.wait_min.append((offer.accepted - received) / _MINUTE)

    def to_json(self) -> dict[str, Any]:
        return {
            "leads": self.leads,
            "offers": self.offers,
            "accepts": self.accepts,
            "rejects": self.rejects,
            "silent": self.silent,
            "returned": self.returned,
            "missed": self.missed,
            "wait_min": round(median(self.wait_min), 1) if self.wait_min else None,
            "miles": round(sum(self.miles) / len(self.miles), 2) if self.miles else None,
        }


@dataclass(frozen=True, slots=True)
class Turns:
    """How far anyone of a rotation ever was from what was due to it, and what bounds that; in turns."""

    mode: str
    worst: float
    bound: float | None  # None where modes decided that keep no accounts

    def to_json(self) -> dict[str, Any]:
        return {"mode": self.mode, "worst_turns": self.worst, "bound_turns": self.bound}


@dataclass(slots=True)
class Outcome:
    """One stretch, added up in every way."""

    total: Sum = field(default_factory=Sum)
    members: dict[int, Sum] = field(default_factory=lambda: defaultdict(Sum))
    areas: dict[str, dict[str, Sum]] = field(default_factory=dict)  # postal, region, ring -> name -> sum
    days: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    fairness: dict[str, Turns] = field(default_factory=dict)  # by rotation
    due: dict[int, float] = field(default_factory=dict)  # member -> turns received beyond its due, at the end

    @property
    def worst(self) -> float:
        """The farthest anyone was from what was due to it, of the rotations that go by fair turn; in turns."""
        fair = [one.worst for one in self.fairness.values() if one.mode == Mode.FAIR]
        return max(fair or [one.worst for one in self.fairness.values()], default=0.0)


def of_history(past: Past) -> Outcome:
    """What history came to."""
    rings = {(d.lead, d.attempt): d for d in past.decisions}
    told = [
        Told(o.lead, o.member, o.offered, _before(o.accepted, past.until), o.state, o.distance_m, _ring_then(rings, o))
        for o in past.offers
        if o.offered >= past.since
    ]
    made = _added(past, told)
    books, modes = dict[str, Deviation](), dict[str, str]()
    for snapshot in past.start.values():
        books |= begun(snapshot)
    passed: list[PastDecision | PastCorrection] = [*past.decisions, *past.corrections]
    for d in sorted(passed, key=lambda one: one.at):
        if isinstance(d, PastCorrection):
            books.setdefault(d.correction.rotation, Deviation()).correct(d.correction.deltas)
        elif d.chosen is not None:
            eligible = [(m, w) for m, w, gate in zip(d.member, d.weight, d.gate, strict=True) if gate == 0]
            total = max(sum(w for _, w in eligible), 1)
            shares = {m: w * d.turn // total for m, w in eligible}
            books.setdefault(d.rotation, Deviation()).add(Turn(Mode(d.mode), d.chosen, shares, turn=d.turn))
            modes[d.rotation] = d.mode
    _fair(made, books, modes)
    return made


def of_world(world: World) -> Outcome:
    """What a simulation came to."""
    past = world.past
    radii = {m.verdict.decision.id: m.verdict.decision for m in world.made if m.chosen is not None}
    told = []
    for offer in world.ledger.offers.values():
        if offer.offered < past.since:
            continue
        decision = radii.get(offer.id)
        ring = _named(decision.rings_m, decision.ring) if decision else ""
        told.append(Told(offer.lead, offer.member, offer.offered, offer.accepted, offer.state, offer.distance_m, ring))
    made = _added(past, sorted(told, key=lambda one: one.offered))
    _fair(made, world.deviations, {name: str(mode) for name, mode in world.modes.items()})
    return made


def _added(past: Past, told: Sequence[Told]) -> Outcome:
    made = Outcome(areas={"postal": defaultdict(Sum), "region": defaultdict(Sum), "ring": defaultdict(Sum)})
    leads = {one.lead.id: one for one in past.leads}
    received = {i: us(one.lead.received_at) for i, one in leads.items()}
    accepted = {one.lead for one in told if one.accepted is not None}
    for i, lead in leads.items():
        if past.since <= received[i] < past.until:
            for sum_ in (made.total, *(made.areas[by][name] for by, name in _areas(lead))):
                sum_.leads += 1
                sum_.missed += i not in accepted
    for one in told:
        if one.lead not in leads:
            continue
        areas = (made.areas[by][name] for by, name in _areas(leads[one.lead]))
        sums = [made.total, made.members[one.member], *areas]
        for sum_ in (*sums, made.areas["ring"][one.ring or "by hand"]):
            sum_.add(one, received[one.lead])
        day = f"{moment(one.offered):%Y-%m-%d}"
        made.days[day]["offers"] += 1
        made.days[day]["accepts"] += one.accepted is not None
    return made


def _areas(lead: PastLead) -> Iterable[tuple[str, str]]:
    country = lead.lead.country
    yield "postal", f"{country} {lead.postal_code[:PREFIX]}" if lead.postal_code else f"{country} ?"
    yield "region", f"{country} {lead.region}" if lead.region else f"{country} ?"


def _ring_then(decisions: Mapping[tuple[int, int], Any], offer: Any) -> str:
    decision = decisions.get((offer.lead, offer.attempt))
    if decision is None or decision.chosen is None or not decision.rings_m:
        return ""
    return _named(decision.rings_m, decision.ring)


def _named(rings_m: Sequence[float], ring: int | None) -> str:
    return "" if ring is None or ring >= len(rings_m) else f"{rings_m[ring] / _MILE_M:g} mi"


def _before(at: int | None, until: int) -> int | None:
    return at if at is not None and at < until else None


def _fair(made: Outcome, books: Mapping[str, Deviation], modes: Mapping[str, str]) -> None:
    made.fairness = {
        rotation: Turns(modes.get(rotation, ""), round(book.worst_turns, 3), book.bound_turns)
        for rotation, book in sorted(books.items())
        if rotation in modes or any(book.gained().values())
    }
    due: defaultdict[int, float] = defaultdict(float)
    for rotation, book in books.items():
        if modes.get(rotation) == Mode.FAIR:
            for member, beyond in book.gained().items():
                due[member] += beyond / TURN
    made.due = dict(due)


# --- side by side


@dataclass(frozen=True, slots=True)
class Beside:
    """A row of the report: the same thing then and under the draft; `then` is None where there is no history."""

    name: str
    label: str
    then: Sum | None
    here: Sum
    due_then: float | None = None
    due_here: float | None = None

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "label": self.label}
        here, then = self.here.to_json(), self.then.to_json() if self.then is not None else None
        for what, value in here.items():
            row[what] = value
            if then is not None:
                row[f"{what}_before"] = then[what]
                both = value is not None and then[what] is not None
                row[f"{what}_change"] = round(value - then[what], 2) if both else None
        if self.due_here is not None:
            row["turns_beyond_due"] = round(self.due_here, 3)
        if self.due_then is not None:
            row["turns_beyond_due_before"] = round(self.due_then, 3)
        return row


def members_beside(then: Outcome | None, here: Outcome, known: Mapping[int, MemberFacts]) -> list[Beside]:
    """Every member that was offered anything, the greatest change of offers first."""
    ids = here.members.keys() | (then.members.keys() if then else set())
    rows = [
        Beside(
            known[i].key if i in known else str(i),
            f"{known[i].name} ({known[i].tier or 'no tier'})" if i in known else "",
            then.members.get(i, Sum()) if then else None,
            here.members.get(i, Sum()),
            then.due.get(i, 0.0) if then else None,
            here.due.get(i, 0.0),
        )
        for i in ids
    ]
    return sorted(rows, key=_by_change)


def areas_beside(then: Outcome | None, here: Outcome, by: str) -> list[Beside]:
    """Every area of one kind, the greatest change of offers first; rings by their radius."""
    mine, theirs = here.areas.get(by, {}), then.areas.get(by, {}) if then else {}
    rows = [
        Beside(name, "", theirs.get(name, Sum()) if then else None, mine.get(name, Sum()))
        for name in mine.keys() | theirs.keys()
    ]
    return sorted(rows, key=_by_radius if by == "ring" else _by_change)


def _by_change(row: Beside) -> tuple[int, int, str]:
    change = row.here.offers - row.then.offers if row.then else row.here.offers
    return -abs(change), -row.here.offers, row.name


def _by_radius(row: Beside) -> tuple[float, str]:
    first = row.name.split(" ")[0]
    return (float(first) if first.replace(".", "").isdigit() else 1e9), row.name

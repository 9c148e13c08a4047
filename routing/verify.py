"""Past decisions, made again from what was written down, and the accounts counted again from them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from operator import lt
from uuid import UUID

from routing import fairness, limits
from routing.decision import Candidate, Gate
from routing.fairness import Book, Verdict
from routing.policy import Mode
from routing.turns import Effect, of_offer

#: Distances are kept in single precision, which is this coarse on the other side of the earth.
SLACK_M = 2.0
#: The reasons of decisions for somebody who was offered the lead before.
_AGAIN = frozenset({"chosen_again", "second_chance"})
#: Gates of members who are not asked at all, whatever room they have.
_NOT_ASKED = frozenset({Gate.TIER, Gate.SKILL, Gate.CERTIFICATE, Gate.CONDITION, Gate.HOURS, Gate.AREA})
_ELIGIBLE = int(Gate.ELIGIBLE)  # a plain number compares much faster


@dataclass(frozen=True, slots=True)
class Past:
    """A decision as the ledger keeps it: parallel sequences, one entry a candidate."""

    id: UUID
    lead_id: int
    attempt: int
    at: datetime
    market: str
    pool: str
    rotation: str
    mode: str
    rings_m: Sequence[float]
    ring: int | None
    generation: int
    seq: int
    chosen: int | None
    reason: str
    member: Sequence[int]
    distance_m: Sequence[float]
    member_ring: Sequence[int]
    weight: Sequence[int]
    capacity: Sequence[int]
    tier_rank: Sequence[int]
    gate: Sequence[int]
    open: Sequence[int]
    standing: Sequence[int]
    served: Sequence[int]
    rule: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)
    units: int = 1
    turn: int = 1_000_000
    stops: Mapping[str, Sequence[object]] = field(default_factory=dict)  # as routing.limits writes them
    uses: Sequence[Sequence[object]] = ()
    policy_version: int = 0
    roster_version: int = 0
    nearest_m: float | None = None


@dataclass(frozen=True, slots=True)
class Righted:
    """A correction as the ledger keeps it, with what its offer's decision says; nothing of that when made by hand."""

    id: UUID
    market: str
    rotation: str
    generation: int
    seq: int
    at: datetime
    effect: str
    deltas: Mapping[int, int]
    offer_id: UUID | None = None
    decided: tuple[str, int, Mapping[int, int]] | None = None  # rotation, who was chosen, what everyone earned
    removed: bool = False  # its offer's decision was, for its age


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that must never be: which check, of what, and how."""

    check: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class PoolFairness:
    """How far anyone of a rotation has ever been from what was due to it."""

    pool: str
    rotation: str
    mode: str
    members: int
    decisions: int
    worst_turns: float
    bound_turns: float | None = None  # the farthest anyone can have been; None where a mode keeps no accounts


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found. `drifts` counts accounts seen while a reservation was pending that came to nothing."""

    decisions: int
    offers: int
    drifts: int
    breaches: tuple[Breach, ...]
    worst: tuple[PoolFairness, ...]
    corrections: int = 0

    @property
    def sound(self) -> bool:
        return not self.breaches


def again(past: Past, *, cursor: int = 0) -> Verdict:
    """Make the decision again from its own values; `cursor` is the member served before it, which mode cursor needs."""
    seen = [
        (Candidate(member, distance, ring, rank, weight, capacity), open_)
        for member, distance, ring, rank, weight, capacity, open_ in compress(
            zip(
                past.member,
                past.distance_m,
                past.member_ring,
                past.tier_rank,
                past.weight,
                past.capacity,
                past.open,
                strict=True,
            ),
            (gate == _ELIGIBLE for gate in past.gate),
        )
    ]
    book = Book(
        standing=dict(zip(past.member, past.standing, strict=True)),
        served=dict(zip(past.member, past.served, strict=True)),
        cursor=cursor,
    )
    return fairness.choose(Mode(past.mode), seen, book, units=past.units, turn=past.turn)


@dataclass(slots=True)
class _Rotation:
    pool: str
    mode: str
    standing: dict[int, int] = field(default_factory=dict)
    deviation: fairness.Deviation = field(default_factory=fairness.Deviation)
    decisions: int = 0
    cursor: int = 0
    gaps: int = 0  # of its market when it last decided


@dataclass(slots=True)
class _Market:
    generation: int = 0
    seq: int = 0
    at: datetime | None = None
    gaps: int = 0  # numbers the turnstile gave that the ledger has not
    gapped: bool = False  # within this generation
    used: dict[str, dict[int, int]] = field(default_factory=dict)  # of limits: counter -> bucket -> units


@dataclass(slots=True)
class Recount:
    """Takes decisions and corrections market by market in the order of (generation, seq)."""

    decisions: int = 0
    corrections: int = 0
    drifts: int = 0
    _markets: dict[str, _Market] = field(default_factory=dict)
    _rotations: dict[tuple[str, str], _Rotation] = field(default_factory=dict)
    _offered: dict[int, set[int]] = field(default_factory=dict)
    _twice: set[tuple[int, int]] = field(default_factory=set)  # lead, member
    _given: set[tuple[int, int]] = field(default_factory=set)  # lead, member: offers that no decision made

    def begin(
        self, market: str, number: tuple[int, int], books: Mapping[str, Book], offered: Iterable[tuple[int, int]]
    ) -> None:
        """Count on from these accounts: what came before this number was removed, with the offers that followed."""
        self._markets[market] = _Market(*number)
        for name, book in books.items():
            self._rotations[market, name] = _Rotation(
                "",
                "",
                standing=dict(book.standing),
                deviation=fairness.Deviation.since(book.standing),
                cursor=book.cursor,
            )
        for lead, member in offered:
            self._offered.setdefault(lead, set()).add(member)

    def add(self, past: Past) -> Iterator[Breach]:
        """Check one decision by itself and against those before it."""
        self.decisions += 1
        market = self._markets.setdefault(past.market, _Market())
        yield from _order(past, f"decision {past.id}", market)
        yield from self._candidates(past)
        if past.chosen is None:
            return
        rotation = self._rotations.setdefault((past.market, past.rotation), _Rotation(past.pool, past.mode))
        rotation.pool, rotation.mode = rotation.pool or past.pool, rotation.mode or past.mode
        verdict = again(past, cursor=rotation.cursor)
        if verdict.chosen != past.chosen:
            if past.mode == Mode.CURSOR and rotation.gaps != market.gaps:
                self.drifts += 1  # the cursor it saw was moved by a reservation that came to nothing
            else:
                yield _breach(past, "choice", f"chose member {past.chosen}; made again, {verdict.chosen}")
        yield from self._continuity(past, rotation, market)
        if past.uses:
            yield from self._uses(past, market)
        self._write(past, verdict, rotation, market)

    def given(self, offers: Iterable[tuple[int, int]]) -> None:
        """Hear of offers that people or rules made outside of any rotation: (lead, member); such a member was tried."""
        self._given.update(offers)

    def correct(self, one: Righted) -> Iterator[Breach]:
        """Check one correction against its offer's decision, and add it to the accounts."""
        self.corrections += 1
        subject = f"correction {one.id}"
        yield from _order(one, subject, self._markets.setdefault(one.market, _Market()))
        yield from _deltas(one, subject)
        rotation = self._rotations.setdefault((one.market, one.rotation), _Rotation("", str(Mode.FAIR)))
        rotation.deviation.correct(one.deltas)
        for member, delta in one.deltas.items():
            rotation.standing[member] = rotation.standing.get(member, 0) + delta

    def worst(self) -> tuple[PoolFairness, ...]:
        """The farthest anyone has been from what was due to it, by rotation."""
        return tuple(
            PoolFairness(
                one.pool,
                name,
                one.mode,
                len(one.deviation.now),
                one.decisions,
                one.deviation.worst_turns,
                one.deviation.bound_turns,
            )
            for (_, name), one in sorted(self._rotations.items())
        )

    def _candidates(self, past: Past) -> Iterator[Breach]:
        tried: AbstractSet[int] = self._offered.get(past.lead_id, frozenset())
        if not (tried or past.stops or past.reason in _AGAIN) and _room(past) == [
            gate == _ELIGIBLE for gate in past.gate
        ]:
            yield from _rings(past)
            return  # as nearly always; the rest names what is wrong
        for member, gate, open_, capacity in zip(past.member, past.gate, past.open, past.capacity, strict=True):
            if gate == Gate.TRIED:
                if member not in tried and (past.lead_id, member) not in self._given:
                    yield _breach(past, "gate", f"member {member} was left out as tried, and was not")
            elif gate in _NOT_ASKED:
                continue
            elif member in tried and gate == Gate.ELIGIBLE and past.reason not in _AGAIN:
                yield _breach(past, "gate", f"member {member} was a candidate again")
            elif (gate == Gate.FULL) == (open_ + past.units <= capacity):
                held = f"held {open_} of {capacity}, {past.units} more asked"
                yield _breach(past, "gate", f"member {member} {held}: {Gate(gate).name.lower()}")
        yield from _stopped(past)
        yield from self._again(past, tried)
        yield from _tiers(past, tried)
        yield from _rings(past)

    def _again(self, past: Past, tried: AbstractSet[int]) -> Iterator[Breach]:
        """Who was tried is a candidate only where nobody else is one, and only once more."""
        if past.reason not in _AGAIN:
            return
        for member, gate in zip(past.member, past.gate, strict=True):
            if gate == Gate.ELIGIBLE and member not in tried:
                yield _breach(past, "gate", f"member {member} was not tried, and was asked as if it had been")
            if gate == Gate.ELIGIBLE and (past.lead_id, member) in self._twice:
                yield _breach(past, "gate", f"member {member} was a candidate for the third time")
        if past.chosen is not None:
            self._twice.add((past.lead_id, past.chosen))

    def _continuity(self, past: Past, rotation: _Rotation, market: _Market) -> Iterator[Breach]:
        """What the chooser saw of each account is what the decisions before add up to."""
        book = rotation.standing
        stood = [book.get(member, 0) for member in past.member]
        if stood == past.standing:
            return
        for member, seen, held, gate in zip(past.member, past.standing, stood, past.gate, strict=True):
            if gate != Gate.ELIGIBLE or seen == held:
                continue
            if market.gapped:
                self.drifts += 1
            else:
                yield _breach(past, "standing", f"member {member} stood at {seen}, not {held}")

    def _uses(self, past: Past, market: _Market) -> Iterator[Breach]:
        """No limit is passed, and what was used of each is what the offers before it add up to."""
        uses = limits.read_uses(past.uses)
        for one in uses:
            if one.used + past.units > one.most:
                yield _breach(
                    past, "limit", f"{one.limit}: {one.used} of {one.most} were used, {past.units} more given"
                )
            held = limits.used(market.used, one.counter, one.bucket, one.buckets)
            if one.kept or one.used == held:  # what is given back when it is not kept, the ledger's counters tell
                continue
            if market.gapped:
                self.drifts += 1
            else:
                yield _breach(past, "limit", f"{one.limit}: {one.used} were said to be used, {held} were")
        limits.count(uses, past.units, market.used)

    def _write(self, past: Past, verdict: Verdict, rotation: _Rotation, market: _Market) -> None:
        chosen = past.chosen
        if chosen is None:
            return
        made = Verdict(verdict.mode, chosen, verdict.shares, turn=past.turn)
        rotation.decisions += 1
        rotation.deviation.add(made)
        if past.mode == Mode.FAIR:
            for member, share in made.shares.items():
                rotation.standing[member] = rotation.standing.get(member, 0) + share
            rotation.standing[chosen] = rotation.standing.get(chosen, 0) - made.payment
        rotation.cursor, rotation.gaps = chosen, market.gaps
        self._offered.setdefault(past.lead_id, set()).add(chosen)


def _stopped(past: Past) -> Iterator[Breach]:
    """Whoever had room and was not asked because of a limit would have passed it."""
    stops = limits.read_stops(past.stops)
    for member, gate in zip(past.member, past.gate, strict=True):
        stop = stops.get(member) if gate == Gate.QUOTA else None
        if gate == Gate.QUOTA and stop is None:
            yield _breach(past, "gate", f"member {member} was stopped by a limit that is not told")
        elif stop is not None and stop.used + past.units <= stop.most:
            yield _breach(past, "gate", f"member {member} was stopped by {stop.limit} at {stop.used} of {stop.most}")


def _room(past: Past) -> list[bool]:
    """Who of the candidates had room for the lead."""
    if past.units == 1:
        return list(map(lt, past.open, past.capacity))
    return [open_ + past.units <= capacity for open_, capacity in zip(past.open, past.capacity, strict=True)]


def _order(one: Past | Righted, subject: str, market: _Market) -> Iterator[Breach]:
    if one.generation != market.generation:
        market.gapped = False  # a rebuild starts from the ledger alone, and counts on from its last number
    if one.seq != market.seq + 1:
        market.gapped = True
        market.gaps += 1
    if one.generation == market.generation and market.at and one.at < market.at:
        yield Breach("order", subject, f"number {one.seq} was given at {one.at}, the one before at {market.at}")
    market.generation, market.seq, market.at = one.generation, one.seq, one.at


def _deltas(one: Righted, subject: str) -> Iterator[Breach]:
    """Nothing is made or lost, and an offer's turn is what its decision says."""
    if sum(one.deltas.values()) != 0:
        yield Breach("correction", subject, f"its parts add up to {sum(one.deltas.values())}")
    effect = Effect(one.effect)
    if effect not in {Effect.RETURN, Effect.PENALISE}:
        return
    if one.removed:
        return
    if one.decided is None:
        yield Breach("correction", subject, f"offer {one.offer_id} followed from no decision")
        return
    rotation, chosen, shares = one.decided
    if (one.rotation, one.deltas) != (rotation, of_offer(effect, chosen, shares)):
        yield Breach("correction", subject, f"is not what the decision of offer {one.offer_id} says")


def _tiers(past: Past, tried: AbstractSet[int]) -> Iterator[Breach]:
    """A tier is asked as a whole or not at all."""
    asked = {
        rank
        for member, gate, rank in zip(past.member, past.gate, past.tier_rank, strict=True)
        if gate not in _NOT_ASKED and gate != Gate.TRIED and member not in tried
    }
    for member, gate, rank in zip(past.member, past.gate, past.tier_rank, strict=True):
        if gate == Gate.TIER and rank in asked:
            yield _breach(past, "gate", f"member {member} was left out for its tier, others of that tier were not")


def _rings(past: Past) -> Iterator[Breach]:
    if past.chosen is None or past.ring is None:
        if Gate.ELIGIBLE in past.gate:
            yield _breach(past, "choice", "somebody was eligible, nobody was chosen")
        return
    outer = [radius + SLACK_M for radius in past.rings_m]
    inner = [-1.0, *(radius - SLACK_M for radius in past.rings_m)]
    for at, (ring, distance) in enumerate(zip(past.member_ring, past.distance_m, strict=True)):
        if not inner[ring] <= distance <= outer[ring]:
            yield _breach(past, "ring", f"member {past.member[at]} at {distance:.0f} m is not in ring {ring + 1}")
        if ring != past.ring and past.gate[at] == _ELIGIBLE:
            yield _breach(past, "ring", f"ring {past.ring + 1} was used, one in ring {ring + 1} had room")


def _breach(past: Past, check: str, detail: str) -> Breach:
    return Breach(check, f"decision {past.id}", detail)

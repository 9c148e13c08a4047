"""A turnstile in memory, deciding by routing.fairness: for simulations, and for tests of whatever asks one."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from routing import fairness
from routing.decision import Ask, Grant
from routing.errors import ColdTurnstile
from routing.fairness import Book, Verdict
from routing.limits import Use, count, give_back
from routing.ports import NO_USES, Mark, Pending, Snapshot, Standing
from routing.turns import Correction, Numbered, Uncertain


@dataclass(frozen=True)
class _Reservation:
    grant: Grant
    rotation: str
    verdict: Verdict
    units: int = 1


@dataclass
class _Market:
    generation: int
    seq: int
    at_us: int = 0
    offers: dict[UUID, int] = field(default_factory=dict)
    open: Counter[int] = field(default_factory=Counter)  # units by member, in step with `offers`
    units: dict[UUID, int] = field(default_factory=dict)  # of those offers that take more than one
    reservations: dict[tuple[int, int], _Reservation] = field(default_factory=dict)
    books: defaultdict[str, Book] = field(default_factory=lambda: defaultdict(Book))
    corrections: dict[UUID, tuple[Correction, Numbered]] = field(default_factory=dict)
    uses: dict[str, dict[int, int]] = field(default_factory=dict)  # counter -> bucket -> units

    def take(self, offer: UUID, member: int, units: int = 1) -> None:
        if offer not in self.offers:
            self.offers[offer] = member
            self.open[member] += units
            if units > 1:
                self.units[offer] = units

    def free(self, offer: UUID) -> None:
        member = self.offers.pop(offer, None)
        if member is not None:
            self.open[member] -= self.units.pop(offer, 1)
            if not self.open[member]:
                del self.open[member]


def _now_us() -> int:
    return time.time_ns() // 1000


class MemoryTurnstile:
    """Keeps the promises of routing.ports.Turnstile for one thread."""

    def __init__(self, clock: Callable[[], int] = _now_us) -> None:
        self._clock = clock  # microseconds since 1970
        self._markets: dict[str, _Market] = {}

    def reserve(
        self, market: str, asks: Sequence[Ask], *, generation: int, release: Sequence[UUID] = ()
    ) -> list[Grant]:
        held = self._warm(market)
        if held.generation != generation:
            raise ColdTurnstile(market=market)
        self.release(market, release)
        now = self._clock()
        return [self._answer(held, ask, now) for ask in asks]

    def settle(
        self,
        market: str,
        *,
        keep: Sequence[tuple[int, int]] = (),
        cancel: Sequence[tuple[int, int]] = (),
        offers: Sequence[UUID] = (),
    ) -> None:
        if market not in self._markets:
            return
        held = self._markets[market]
        meant = dict(zip((*keep, *cancel), offers, strict=False))
        others = {one for one, offer in meant.items() if (r := held.reservations.get(one)) and r.grant.offer != offer}
        for one in set(keep) - others:
            held.reservations.pop(one, None)
        for one in (one for one in cancel if one not in others):
            if reservation := held.reservations.pop(one, None):
                held.free(reservation.grant.offer)
                fairness.undo(reservation.verdict, held.books[reservation.rotation])
                give_back(reservation.grant.uses, reservation.units, held.uses)

    def correct(self, market: str, corrections: Sequence[Correction], *, generation: int) -> list[Numbered]:
        held = self._warm(market)
        if held.generation != generation:
            raise ColdTurnstile(market=market)
        for one in corrections:
            if one.id not in held.corrections:
                held.seq, held.at_us = held.seq + 1, max(self._clock(), held.at_us + 1)
                held.corrections[one.id] = one, Numbered(one.id, held.seq, held.at_us)
                self._move(held, one, 1)
        return [held.corrections[one.id][1] for one in corrections]

    def settle_corrections(
        self, market: str, *, keep: Sequence[tuple[UUID, int]] = (), undo: Sequence[tuple[UUID, int]] = ()
    ) -> None:
        held = self._markets.get(market)
        for pairs, undone in ((keep, False), (undo, True)):
            for id_, seq in pairs:
                if held and id_ in held.corrections and held.corrections[id_][1].seq == seq:
                    one, _ = held.corrections.pop(id_)
                    if undone:
                        self._move(held, one, -1)

    def uncertain(self, market: str, *, older_than_s: float) -> list[Uncertain]:
        held = self._warm(market)
        numbers = (number for _, number in held.corrections.values())
        old = (one for one in numbers if self._clock() - one.at_us >= older_than_s * 1e6)
        return sorted((Uncertain(one.id, held.generation, one.seq) for one in old), key=lambda one: one.seq)

    def _move(self, held: _Market, one: Correction, sign: int) -> None:
        standing = held.books[one.rotation].standing
        for member, delta in one.deltas.items():
            standing[member] = standing.get(member, 0) + sign * delta

    def release(self, market: str, offers: Sequence[UUID], *, back: Mapping[UUID, Sequence[Use]] = NO_USES) -> None:
        held = self._warm(market)
        for offer in offers:
            if offer in held.offers:
                give_back(back.get(offer, ()), held.units.get(offer, 1), held.uses)
            held.free(offer)

    def uses(self, market: str) -> dict[str, dict[int, int]]:
        """What is used of the limits: counter -> bucket -> units."""
        return {counter: dict(held) for counter, held in self._warm(market).uses.items() if held}

    def rebuild(self, market: str, snapshot: Snapshot) -> None:
        before = self._markets.get(market)
        if before and before.generation >= snapshot.generation:
            raise ColdTurnstile(market=market)
        held = _Market(snapshot.generation, snapshot.seq, before.at_us if before else 0)
        for offer, member in snapshot.open_offers.items():
            held.take(offer, member, snapshot.units.get(offer, 1))
        held.uses = {counter: dict(buckets) for counter, buckets in snapshot.uses.items()}
        for rotation in snapshot.standings.keys() | snapshot.ticks.keys() | snapshot.cursors.keys():
            accounts = snapshot.standings.get(rotation, {})
            held.books[rotation] = Book(
                standing={member: account.standing for member, account in accounts.items()},
                served={member: account.served for member, account in accounts.items()},
                tick=snapshot.ticks.get(rotation, 0),
                cursor=snapshot.cursors.get(rotation, 0),
            )
        self._markets[market] = held

    def pending(self, market: str, *, older_than_s: float) -> list[Pending]:
        now = self._clock()
        grants = (r.grant for r in self._warm(market).reservations.values())
        old = sorted((g for g in grants if now - g.at_us >= older_than_s * 1e6), key=lambda g: g.at_us)
        return [
            Pending(g.lead, g.attempt, g.offer, g.member, (now - g.at_us) / 1e6) for g in old if g.member is not None
        ]

    def standings(self, market: str, rotation: str) -> dict[int, Standing]:
        books = self._warm(market).books
        if rotation not in books:
            return {}
        book = books[rotation]
        found = {
            member: Standing(book.standing.get(member, 0), book.served.get(member, 0))
            for member in book.standing.keys() | book.served.keys()
        }
        return {member: account for member, account in found.items() if account != Standing(0, 0)}

    def open_counts(self, market: str) -> dict[int, int]:
        return dict(self._warm(market).open)

    def cursors(self, market: str) -> dict[str, int]:
        """Whom each rotation served last."""
        return {name: book.cursor for name, book in self._warm(market).books.items()}

    def mark(self, market: str) -> Mark:
        held = self._markets.get(market)
        return Mark(held.generation, held.seq) if held else Mark()

    def probe(self, market: str) -> None:
        """It is always there."""

    def _warm(self, market: str) -> _Market:
        if market not in self._markets:
            raise ColdTurnstile(market=market)
        return self._markets[market]

    def _answer(self, held: _Market, ask: Ask, now: int) -> Grant:
        if reservation := held.reservations.get((ask.lead, ask.attempt)):
            return replace(reservation.grant, repeated=True)
        outcome = fairness.decide(ask, held.open, held.books.__getitem__, held.uses)
        chosen = outcome.verdict.chosen if outcome.verdict else None
        if chosen is None and not ask.last:
            return Grant(ask.lead, ask.attempt, ask.offer, None, None, 0, now, outcome.sights, stops=outcome.stops)
        held.seq, held.at_us = held.seq + 1, max(now, held.at_us + 1)
        grant = Grant(
            ask.lead,
            ask.attempt,
            ask.offer,
            chosen,
            outcome.group,
            held.seq,
            held.at_us,
            outcome.sights,
            stops=outcome.stops,
            uses=outcome.uses,
        )
        if outcome.verdict and outcome.group is not None and chosen is not None:
            rotation = ask.groups[outcome.group].rotation
            fairness.apply(outcome.verdict, held.books[rotation])
            held.take(ask.offer, chosen, ask.units)
            held.reservations[ask.lead, ask.attempt] = _Reservation(grant, rotation, outcome.verdict, ask.units)
            count(outcome.uses, ask.units, held.uses)
        return grant

"""What the turnstile holds beside what the ledger knows, and where the two differ."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from routing.fairness import Book
from routing.limits import Uses
from routing.rotation import is_over

Account = tuple[str, int]  # rotation, member
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A turn the turnstile has given and nobody has settled yet; the ledger may know it or not."""

    offer: UUID
    seq: int
    rotation: str
    mode: str
    member: int
    shares: Mapping[int, int]
    uses: tuple[tuple[str, int, int], ...] = ()  # of limits: counter, bucket, units


@dataclass(frozen=True, slots=True)
class Corrected:
    """A correction the turnstile has carried out and nobody has settled yet; the ledger may know it or not."""

    seq: int
    rotation: str
    deltas: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """Everything the turnstile holds for one market, at one instant."""

    generation: int
    seq: int
    slots: str  # the token of where members stand
    order: tuple[int, ...]  # the member in each slot
    offers: Mapping[UUID, int]
    counts: Mapping[int, int]  # units by member, as it counts them; none at zero
    reserved: tuple[Reserved, ...]
    books: Mapping[str, Book]
    corrected: tuple[Corrected, ...] = ()
    units: Mapping[UUID, int] = field(default_factory=dict)  # of those offers that take more than one
    uses: Uses = field(default_factory=dict)  # of limits: counter -> bucket -> units


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of the same instant: everything decided up to that number."""

    open_offers: Mapping[UUID, int]
    leaving: Collection[UUID]  # ended; that their places are free is on its way
    books: Mapping[str, Book]
    units: Mapping[UUID, int] = field(default_factory=dict)  # of those open offers that take more than one
    uses: Uses = field(default_factory=dict)  # of limits, those buckets that a window still reaches
    at: datetime | None = None  # rotations whose periods ended long before need not be known on either side


@dataclass(frozen=True, slots=True)
class Drift:
    """Where the turnstile is wrong; what is said as (seen, right) is mended only while it is still as seen."""

    leaked: Mapping[UUID, int] = field(default_factory=dict)  # places held by offers that are over
    missing: Mapping[UUID, int] = field(default_factory=dict)  # open offers that hold no place
    miscounted: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # member -> (counted, held)
    standings: Mapping[Account, int] = field(default_factory=dict)  # micro-turns to add
    served: Mapping[Account, tuple[int, int]] = field(default_factory=dict)
    ticks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cursors: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    units: Mapping[UUID, int] = field(default_factory=dict)  # of the missing, where more than one
    uses: Mapping[tuple[str, int], int] = field(default_factory=dict)  # counter and bucket of a limit: units to add

    def __bool__(self) -> bool:
        return any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {
            "leaked": len(self.leaked),
            "missing": len(self.missing),
            "miscounted": len(self.miscounted),
            "standing": len(self.standings),
            "limit": len(self.uses),
            "turn": len(self.served) + len(self.ticks) + len(self.cursors),
        }

    def also_in(self, other: "Drift") -> "Drift":
        """What both looks found alike."""
        return Drift(
            _both(self.leaked, other.leaked),
            _both(self.missing, other.missing),
            _both(self.miscounted, other.miscounted),
            _both(self.standings, other.standings),
            _both(self.served, other.served),
            _both(self.ticks, other.ticks),
            _both(self.cursors, other.cursors),
            _both(self.units, other.units),
            _both(self.uses, other.uses),
        )


def drift(held: Held, known: Known) -> Drift:
    """Where the turnstile differs from the ledger, both as of one instant."""
    in_flight = {one.offer for one in held.reserved}
    fine = known.open_offers.keys() | set(known.leaving) | in_flight
    counted = Counter(held.offers.values())
    for offer, units in held.units.items():
        counted[held.offers[offer]] += units - 1
    right = {offer: member for offer, member in known.open_offers.items() if offer not in in_flight}
    misplaced = {offer for offer, member in right.items() if held.offers.get(offer, member) != member}
    misplaced |= {o for o in right if o in held.offers and held.units.get(o, 1) != known.units.get(o, 1)}
    missing = {offer: member for offer, member in right.items() if offer not in held.offers or offer in misplaced}
    return Drift(
        leaked={offer: member for offer, member in held.offers.items() if offer not in fine or offer in misplaced},
        missing=missing,
        miscounted=_differing(held.counts, counted),
        standings={
            (rotation, member): right - seen
            for rotation, book in _books(held, known)
            for member, (seen, right) in _differing(_in(held, rotation).standing, book.standing).items()
        },
        served={
            (rotation, member): both
            for rotation, book in _books(held, known)
            for member, both in _differing(_in(held, rotation).served, book.served).items()
        },
        ticks=_differing(_of(held, known, "tick"), _of(known, known, "tick")),
        cursors=_differing(_of(held, known, "cursor"), _of(known, known, "cursor")),
        units={offer: known.units[offer] for offer in missing if offer in known.units},
        uses=_uses(held, known),
    )


def _uses(held: Held, known: Known) -> dict[tuple[str, int], int]:
    """What the counters of limits lack, as far as the ledger knows them; what no window reaches may be forgotten."""
    lacks = (
        ((counter, bucket), right - held.uses.get(counter, {}).get(bucket, 0))
        for counter, buckets in known.uses.items()
        for bucket, right in buckets.items()
    )
    return {key: units for key, units in lacks if units}


def _books(held: Held, known: Known) -> list[tuple[str, Book]]:
    """Every rotation of either side that is still needed, as the ledger has it."""
    names = sorted(held.books.keys() | known.books.keys())
    return [(name, known.books.get(name, Book())) for name in names if _is_needed(name, known)]


def _in(held: Held, rotation: str) -> Book:
    return held.books.get(rotation, Book())


def _of(one: Held | Known, known: Known, what: str) -> dict[str, int]:
    return {name: getattr(book, what) for name, book in one.books.items() if _is_needed(name, known)}


def _is_needed(rotation: str, known: Known) -> bool:
    return known.at is None or not is_over(rotation, known.at)


def _differing(seen: Mapping[K, int], right: Mapping[K, int]) -> dict[K, tuple[int, int]]:
    keys = seen.keys() | right.keys()
    return {key: (seen.get(key, 0), right.get(key, 0)) for key in keys if seen.get(key, 0) != right.get(key, 0)}


def _both(one: Mapping[K, V], other: Mapping[K, V]) -> dict[K, V]:
    return {key: value for key, value in one.items() if other.get(key) == value}

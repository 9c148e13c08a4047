"""How asks and answers are packed between Python and Lua; the scripts' headers tell the layouts."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from routing.columns import CANDIDATE, SIGHT, Column, Columns, Ints, Rows, Table, gather
from routing.decision import Ask, Grant
from routing.errors import BadInput
from routing.policy import Mode
from routing.turns import Correction
from storage.redis.limited import NO_LIMITS, NO_STOPS, Argument, Int32s, Limited, Told

PAGE = 16  # slots; as in scripts/shared.lua
RECORD = struct.Struct("<iiiiiiiddddddd32s")
RESERVATION = struct.Struct("<qi")
CORRECTION = struct.Struct("<32sd")
MOVED = struct.Struct("<ddi")
MODES = {Mode.FAIR: 1, Mode.CURSOR: 2, Mode.LEAST_RECENT: 3, Mode.LEAST_LOADED: 4, Mode.NEAREST: 5}
LARGEST = 2**31 - 1
EXACT = 2**53  # up to here a double holds every whole number


def reservation_ids(pairs: Sequence[tuple[int, int]]) -> bytes:
    """(lead, attempt) pairs as the scripts take them."""
    return b"".join(RESERVATION.pack(*pair) for pair in pairs)


def correction_ids(pairs: Sequence[tuple[UUID, int]]) -> bytes:
    """(correction, number) pairs as the scripts take them."""
    return b"".join(CORRECTION.pack(id_.hex.encode(), seq) for id_, seq in pairs)


def packed_deltas(one: Correction, slots: "Slots") -> tuple[bytes, bytes]:
    """Where a correction's members stand, and by how much each is moved."""
    count = len(one.deltas)
    slot = slots.of(np.fromiter(one.deltas, np.int32, count))
    return slot.astype("<i4").tobytes(), np.fromiter(one.deltas.values(), "<f8", count).tobytes()


class Moved(NamedTuple):
    """A stored correction."""

    seq: int
    rotation: str
    slots: list[int]
    deltas: list[int]

    @classmethod
    def of(cls, packed: bytes) -> "Moved":
        seq, _at, count = MOVED.unpack_from(packed)
        slots = np.frombuffer(packed, "<i4", count, MOVED.size).tolist()
        deltas = np.frombuffer(packed, "<f8", count, MOVED.size + 4 * count).astype(np.int64).tolist()
        return cls(int(seq), packed[MOVED.size + 12 * count :].decode(), slots, deltas)


class Record(NamedTuple):
    """The fixed part of a stored reservation."""

    member: int
    slot: int
    group: int
    moved: int
    candidates: int
    without_room: int
    name: int  # bytes of the rotation's
    weights: float
    turn: float
    seq: float
    at_us: float
    tick: float
    cursor_before: float
    served_before: float
    offer_hex: bytes

    @classmethod
    def of(cls, packed: bytes) -> "Record":
        return cls._make(RECORD.unpack_from(packed))

    @property
    def offer(self) -> UUID:
        return UUID(hex=self.offer_hex.decode())


class Slots:
    """Which slot each member stands in, as of one token; never changed."""

    __slots__ = ("_by_member", "order", "token")

    def __init__(self, token: str, order: Int32s) -> None:
        self.token, self.order = token, order
        self._by_member = np.full(int(order.max(initial=0)) + 2, -1, dtype=np.int32)
        self._by_member[order] = np.arange(len(order), dtype=np.int32)

    def of(self, members: Column) -> Int32s:
        """The slot of each member, -1 where it has none."""
        found: Int32s = self._by_member.take(members, mode="clip")  # the last one is nobody's
        return found

    def with_more(self, members: Int32s, token: str) -> "Slots":
        return Slots(token, np.concatenate([self.order, members]))

    def members(self, pages: Column) -> Int32s:
        """The members of these pages, slot by slot; 0 where there is nobody yet."""
        whole = np.zeros(-(-len(self.order) // PAGE) * PAGE, dtype=np.int32)
        whole[: len(self.order)] = self.order
        found: Int32s = whole.reshape(-1, PAGE)[pages].reshape(-1)
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """Asks as columns: by ask, by group, by candidate."""

    asks: Sequence[Ask]
    ask_groups: Ints  # how many groups each ask has
    group_rotation: Ints
    group_size: Ints
    rotations: list[str]
    member: Column
    weight: Column
    capacity: Column
    distance_m: Column
    units: Ints  # by ask
    turn: Ints  # by ask
    limited: Limited | None

    @classmethod
    def of(cls, asks: Sequence[Ask]) -> "Batch":
        """Raises BadInput when a number is too large for the turnstile."""
        groups = [group for ask in asks for group in ask.groups]
        try:
            columns, sizes = gather(CANDIDATE, [group.candidates for group in groups])
        except OverflowError as exc:
            fix = f"Member ids, weights (thousandths) and capacities are whole numbers up to {LARGEST:,}."
            raise BadInput("does not fit the turnstile", field="candidates", fix=fix) from exc
        member, distance_m, _, _, weight, capacity = columns
        numbers: dict[str, int] = {}
        rotation = np.fromiter((numbers.setdefault(g.rotation, len(numbers)) for g in groups), np.int64, len(groups))
        counts = np.fromiter((len(ask.groups) for ask in asks), np.int64, len(asks))
        units, turn = np.array([(a.units, a.turn) for a in asks], dtype=np.int64).reshape(-1, 2).T
        _refuse_inexact(weight, units, turn)
        limited = Limited.of(asks, member.tolist()) if any(ask.limits for ask in asks) else None
        return cls(
            asks, counts, rotation, sizes, list(numbers), member, weight, capacity, distance_m, units, turn, limited
        )

    @property
    def group_turn(self) -> Ints:
        """What each group's ask costs."""
        return np.repeat(self.turn, self.ask_groups)


def _refuse_inexact(weight: Column, units: Ints, turn: Ints) -> None:
    """A share is the floor of weight * turn / sum, which doubles tell exactly while the product is below 2^53."""
    most = int(turn.max(initial=0))
    if max(most, int(units.max(initial=0))) > LARGEST or int(weight.max(initial=0)) * most >= EXACT:
        fix = f"Units and micro-turns are whole numbers up to {LARGEST:,}, and a weight times a turn stays below 2^53."
        raise BadInput("does not fit the turnstile", field="units", fix=fix)


@dataclass(frozen=True, slots=True)
class Laid:
    """A batch laid over pages of slots."""

    batch: Batch
    pages: Ints
    place: Ints  # of each candidate, from 0 over the pages

    @classmethod
    def over(cls, slot: Int32s, batch: Batch) -> "Laid":
        page = slot // PAGE
        named = np.zeros(int(page.max(initial=-1)) + 1, dtype=np.bool_)
        named[page] = True
        pages = np.flatnonzero(named)
        position = np.cumsum(named) - 1
        return cls(batch, pages, position[page] * PAGE + slot % PAGE)


def pack(laid: Laid, slot: Int32s, slots: Slots, *, generation: int, release: Sequence[UUID]) -> list[Argument]:
    """The arguments of reserve.lua."""
    batch, asks = laid.batch, laid.batch.asks
    by_place = np.full(len(laid.pages) * PAGE, LARGEST, dtype=np.int32)
    by_place[laid.place] = batch.capacity
    own = bool((by_place[laid.place] != batch.capacity).any())
    heads = np.array([(MODES[a.mode], len(a.groups), a.last, a.units, a.turn) for a in asks], dtype="<i4")
    ids = np.empty(len(asks), dtype=[("lead", "<i8"), ("attempt", "<i4")])
    ids["lead"], ids["attempt"] = [a.lead for a in asks], [a.attempt for a in asks]
    by_distance = any(a.mode is Mode.NEAREST for a in asks)
    groups = _groups(batch)
    return [
        generation,
        slots.token,
        int(own),
        "".join([offer.hex for offer in release]),
        ids.tobytes(),
        "".join([a.offer.hex for a in asks]),
        heads.tobytes(),
        groups.tobytes(),
        laid.pages.astype("<i4").tobytes(),
        slots.members(laid.pages).astype("<i4", copy=False).tobytes(),
        (batch.capacity if own else by_place).astype("<i4", copy=False).tobytes(),
        (laid.place + 1).astype("<i4").tobytes(),
        slot.astype("<i4", copy=False).tobytes(),
        batch.weight.astype("<i4", copy=False).tobytes(),
        _shares(batch, groups).tobytes(),
        np.rint(batch.distance_m * 10).astype("<i4").tobytes() if by_distance else b"",
        *(batch.limited.arguments() if batch.limited else NO_LIMITS),
        len(batch.rotations),
        *batch.rotations,
        *(batch.limited.counters if batch.limited else ()),
    ]


def _groups(batch: Batch) -> NDArray[np.int32]:
    """Per group: rotation, size, sum of the weights, and the share of each when all weigh the same, else -1.

    -2 when the sum is too large to be told.
    """
    ends = np.cumsum(batch.group_size)
    sums = np.concatenate([[0], np.cumsum(batch.weight, dtype=np.int64)])
    total = sums[ends] - sums[ends - batch.group_size]
    rows = np.empty((len(ends), 4), dtype="<i4")
    rows[:, 0], rows[:, 1], rows[:, 2] = batch.group_rotation + 1, batch.group_size, np.minimum(total, LARGEST)
    first = batch.weight[np.minimum(ends - batch.group_size, max(len(batch.weight) - 1, 0))] if len(batch.weight) else 0
    alike = np.ones(len(ends), dtype=np.bool_)
    whose = np.repeat(np.arange(len(ends)), batch.group_size)
    odd = batch.weight != np.repeat(first, batch.group_size) if len(batch.weight) else np.zeros(0, dtype=np.bool_)
    alike[whose[odd]] = False
    fits = total <= LARGEST
    share = np.asarray(first, dtype=np.int64) * batch.group_turn // np.maximum(total, 1)
    rows[:, 3] = np.where(fits, np.where(alike, share, -1), -2)
    return rows


def _shares(batch: Batch, groups: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each candidate's share while everyone in its group has room; nothing when all groups weigh alike."""
    if (groups[:, 3] >= 0).all():
        return np.zeros(0, dtype="<i4")
    weights = np.repeat(groups[:, 2].astype(np.int64), batch.group_size)
    turn = np.repeat(batch.group_turn, batch.group_size)
    return (batch.weight.astype(np.int64) * turn // np.maximum(weights, 1)).astype("<i4")


def unpack(laid: Laid, reply: Sequence[Any]) -> list[Grant]:
    """The grants of reserve.lua's reply, in the order of the asks."""
    batch, asks = laid.batch, laid.batch.asks
    books = 3 * len(batch.rotations)
    answers = np.frombuffer(reply[2], dtype="<i4").reshape(-1, 3)
    told = _told(batch, batch.limited, answers, reply) if batch.limited else None
    sights = Sights(laid, answers, reply[3], reply[4 : 4 + books], told.stopped if told else None)
    table = Table(SIGHT, sights.columns)
    repeats = iter(reply[4 + books :])
    seq, at_us = int(reply[0]), int(reply[1])
    grants: list[Grant] = []
    members = _members(laid, answers)
    rows = zip(asks, answers[:, 0].tolist(), answers[:, 1].tolist(), members, sights.bounds(), strict=True)
    for number, (ask, place, group, member, (start, stop)) in enumerate(rows):
        if place < 0:
            grants.append(_stored(ask, Record.of(next(repeats))))
            continue
        numbered = place > 0 or ask.last
        seq += numbered
        grants.append(
            Grant(
                ask.lead,
                ask.attempt,
                ask.offer,
                member if place else None,
                group if place else None,
                seq if numbered else 0,
                at_us,
                Rows(table, start, stop),
                stops=told.stops.get(number, {}) if told else NO_STOPS,
                uses=told.uses.get(number, ()) if told else (),
            )
        )
        at_us += numbered
    return grants


def _told(batch: Batch, limited: Limited, answers: Int32s, reply: Sequence[Any]) -> Told:
    ask = np.repeat(np.repeat(np.arange(len(batch.asks)), batch.ask_groups), batch.group_size)
    return Told(limited, batch.member, ask, answers, *reply[-2:])


def _stored(ask: Ask, record: Record) -> Grant:
    return Grant(
        ask.lead,
        ask.attempt,
        record.offer,
        record.member,
        record.group,
        int(record.seq),
        int(record.at_us),
        (),
        repeated=True,
    )


def _members(laid: Laid, answers: Int32s) -> list[int]:
    by_place = np.zeros(len(laid.pages) * PAGE + 1, dtype=np.int32)
    by_place[laid.place + 1] = laid.batch.member
    found: list[int] = by_place[np.maximum(answers[:, 0], 0)].tolist()
    return found


class Sights:
    """What the script saw of each candidate, worked out again from what was before the batch and who was chosen.

    Nothing else can have moved an account within the batch, which is atomic: so this need not travel.
    """

    def __init__(
        self,
        laid: Laid,
        answers: Int32s,
        open_before: bytes,
        books: Sequence[bytes],
        stopped: NDArray[np.bool_] | None = None,
    ) -> None:
        self._stopped = stopped
        self._laid, self._answers = laid, answers
        self._open_before, self._books = open_before, books
        batch = laid.batch
        place, group = answers[:, 0], answers[:, 1]
        looked = np.where(place > 0, group + 1, np.where(place == 0, batch.ask_groups, 0))
        self._ask = np.repeat(np.arange(len(answers)), batch.ask_groups)  # of each group
        number = np.arange(len(self._ask)) - (np.cumsum(batch.ask_groups) - batch.ask_groups)[self._ask]
        self._looked_at = number < looked[self._ask]
        self._deciding = number == np.where(place > 0, group, -1)[self._ask]

    def bounds(self) -> list[tuple[int, int]]:
        """Where each ask's sights are among all."""
        sizes = np.where(self._looked_at, self._laid.batch.group_size, 0)
        ends = np.cumsum(np.bincount(self._ask, sizes, len(self._answers)).astype(np.int64)).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []

    def columns(self) -> Columns:
        """member, eligible, open, standing, served: of every candidate of the groups looked at."""
        batch, sizes = self._laid.batch, self._laid.batch.group_size
        seen = np.repeat(self._looked_at, sizes)
        group = np.repeat(np.arange(len(sizes)), sizes)[seen]
        ask, place, weight = self._ask[group], self._laid.place[seen], batch.weight[seen].astype(np.int64)
        rotation = batch.group_rotation[group]
        open_ = self._open(ask, place)
        eligible = open_ + batch.units[ask] <= batch.capacity[seen]
        if self._stopped is not None:
            eligible &= ~self._stopped[seen]
        decided = self._deciding[group] & eligible
        shares = (
            weight
            * batch.turn[ask]
            // np.maximum(np.bincount(group, weight * decided, len(sizes)), 1).astype(np.int64)[group]
        )
        standing = self._standing(ask, place, rotation, group, np.where(decided, shares, 0))
        served = self._served(ask, place, rotation)
        return batch.member[seen], eligible, open_, standing, served

    def _open(self, ask: Ints, place: Ints) -> Ints:
        """Units held before: those before the batch, and those of each earlier ask that took a place."""
        held = np.frombuffer(self._open_before, dtype="<i4").astype(np.int64)[place]
        took = np.flatnonzero(self._answers[:, 2])
        asks = len(self._answers)
        events = (self._answers[took, 0].astype(np.int64) - 1) * asks + took
        order = np.argsort(events)
        events = events[order]
        units = np.concatenate([[0], np.cumsum(self._answers[took[order], 2], dtype=np.int64)])
        upto, first = np.searchsorted(events, place * asks + ask), np.searchsorted(events, place * asks)
        found: Ints = held + units[upto] - units[first]
        return found

    def _turns(self) -> tuple[Ints, Ints, Ints]:
        """Each turn given: the ask, its rotation, the place chosen."""
        groups = np.flatnonzero(self._deciding)
        asks = self._ask[groups]
        return asks, self._laid.batch.group_rotation[groups], self._answers[asks, 0].astype(np.int64) - 1

    def _standing(self, ask: Ints, place: Ints, rotation: Ints, group: Ints, share: Ints) -> Ints:
        """Standings before: those before the batch, moved by each earlier ask of the same rotation in mode fair."""
        before = self._before(1)[rotation, place]
        fair = np.array([a.mode is Mode.FAIR for a in self._laid.batch.asks], dtype=np.bool_)
        payment = np.zeros(len(self._deciding), dtype=np.int64)
        np.add.at(payment, group, share)
        chosen = self._deciding[group] & (self._answers[ask, 0] - 1 == place)
        moved = np.where(fair[ask], share - np.where(chosen, payment[group], 0), 0)
        account = rotation * (int(place.max(initial=0)) + 1) + place
        order = np.argsort(account * len(self._answers) + ask, kind="stable")
        sums = np.concatenate([[0], np.cumsum(moved[order])])[:-1]  # of all accounts before, up to this ask
        starts = np.ones(len(order), dtype=np.bool_)
        starts[1:] = account[order][1:] != account[order][:-1]
        from_here = np.empty(len(order), dtype=np.int64)
        from_here[order] = sums - sums[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
        return before + from_here

    def _served(self, ask: Ints, place: Ints, rotation: Ints) -> Ints:
        """The tick of the last turn before: within the batch, else before it."""
        before = self._before(2)[rotation, place]
        asks, rotations, places = self._turns()
        ticks = np.array([int(tick) for tick in self._books[0::3]], dtype=np.int64)
        tick = np.empty(len(asks), dtype=np.int64)
        for number in range(len(self._laid.batch.rotations)):
            mine = rotations == number
            tick[mine] = ticks[number] + 1 + np.arange(int(mine.sum()))
        width, count = len(self._laid.pages) * PAGE, len(self._answers)
        keys = (rotations * width + places) * count + asks
        order = np.argsort(keys)
        mine = (rotation * width + place) * count
        last = np.searchsorted(keys[order], mine + ask) - 1
        if not len(order):
            return before
        found = (last >= 0) & (keys[order][last] >= mine)
        return np.where(found, tick[order][last], before)

    def _before(self, part: int) -> Ints:
        """Standings (1) or last turns (2) before the batch: a row a rotation."""
        rows = [np.frombuffer(book, dtype="<f8") for book in self._books[part::3]]
        return np.array(rows).astype(np.int64) if rows else np.zeros((1, 0), dtype=np.int64)

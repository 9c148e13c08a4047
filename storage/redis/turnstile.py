"""The turnstile in Redis or Valkey: one script a promise, all keys of a market in one slot."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid4

import numpy as np
from redis.exceptions import ResponseError

from routing.columns import Column
from routing.decision import Ask, Grant
from routing.errors import ColdTurnstile, TurnstileUnreachable
from routing.limits import Use
from routing.ports import NO_USES, Mark, Pending, Snapshot, Standing
from routing.turns import Correction, Numbered, Uncertain
from storage.redis import scripts
from storage.redis.client import Client, connect, in_our_words
from storage.redis.keys import MarketKeys
from storage.redis.limited import Argument, buckets_of, packed_buckets, packed_uses
from storage.redis.records import (
    PAGE,
    RESERVATION,
    Batch,
    Laid,
    Record,
    Slots,
    correction_ids,
    pack,
    packed_deltas,
    reservation_ids,
    unpack,
)

CHUNK = 5_000  # fields of one command while a snapshot is staged
STAGED_S = 600  # what a rebuild that died has staged goes by itself
#: Others give slots to members at the same time: so often we look again where everybody stands.
LOOKS = 50

T = TypeVar("T")


class RedisTurnstile:
    """Keeps the promises of routing.ports.Turnstile. Safe to share between threads; opened anew after a fork.

    `at` is a URL, or a client that returns bytes, of a cluster too.
    """

    def __init__(self, at: str | Client) -> None:
        self._redis = connect(at) if isinstance(at, str) else at
        names = ["reserve", "settle", "release", "pending", "switch", "enrol"]
        names += ["correct", "settle_corrections", "uncertain", "forget"]
        self._scripts = {name: scripts.bind(name, self._redis) for name in names}
        self._slots: dict[str, Slots] = {}

    def reserve(
        self, market: str, asks: Sequence[Ask], *, generation: int, release: Sequence[UUID] = ()
    ) -> list[Grant]:
        """Free the released offers, then give each Ask a member with room, in order; atomic, one round trip.

        An answer with nobody reserves nothing and is not remembered: asked again, there may be room.
        Up to 100 asks at once keep the server's other clients waiting for a few milliseconds only.
        """
        batch = Batch.of(asks)
        for _ in range(LOOKS):
            try:
                slots = self._with_slots(market, batch.member, generation)
                slot = slots.of(batch.member)
                laid = Laid.over(slot, batch)
                arguments = pack(laid, slot, slots, generation=generation, release=release)
                return unpack(laid, self._run("reserve", MarketKeys(market).with_uses, arguments))
            except _SlotsChanged:
                self._slots.pop(market, None)
        raise TurnstileUnreachable(said="others keep changing the slots")

    def settle(
        self,
        market: str,
        *,
        keep: Sequence[tuple[int, int]] = (),
        cancel: Sequence[tuple[int, int]] = (),
        offers: Sequence[UUID] = (),
    ) -> None:
        """Forget reservations by (lead, attempt): kept ones are in the ledger now, cancelled ones are undone whole.

        Unknown ones are left alone, so a cold turnstile, which knows none, is no error here; and, when `offers` names
        the offer of each (of those to keep, then of those to cancel), those that were made for another one.
        """
        meant = "".join(offer.hex for offer in offers)
        self._run("settle", MarketKeys(market).with_uses, [reservation_ids(keep), reservation_ids(cancel), meant])

    def correct(self, market: str, corrections: Sequence[Correction], *, generation: int) -> list[Numbered]:
        """Move standings, in order; a correction that was carried out before keeps its number and moves nothing."""
        members = np.array([member for one in corrections for member in one.deltas], dtype=np.int32)
        for _ in range(LOOKS):
            try:
                slots = self._with_slots(market, members, generation)
                arguments: list[Argument] = [generation, slots.token]
                for one in corrections:
                    arguments += [one.id.hex, one.rotation, *packed_deltas(one, slots)]
                reply = self._run("correct", MarketKeys(market).with_corrections, arguments)
                numbers = zip(corrections, reply[::2], reply[1::2], strict=True)
                return [Numbered(one.id, int(seq), int(at_us)) for one, seq, at_us in numbers]
            except _SlotsChanged:
                self._slots.pop(market, None)
        raise TurnstileUnreachable(said="others keep changing the slots")

    def settle_corrections(
        self, market: str, *, keep: Sequence[tuple[UUID, int]] = (), undo: Sequence[tuple[UUID, int]] = ()
    ) -> None:
        """Forget corrections by id and number: kept ones are in the ledger now, undone ones are moved back whole."""
        arguments = [correction_ids(keep), correction_ids(undo)]
        self._run("settle_corrections", MarketKeys(market).with_corrections, arguments)

    def uncertain(self, market: str, *, older_than_s: float) -> list[Uncertain]:
        """Corrections that were not settled within that time, by number."""
        generation, *found = self._run("uncertain", MarketKeys(market).with_corrections, [int(older_than_s * 1e6)])
        made = [
            Uncertain(UUID(hex=one.decode()), int(generation), int(seq))
            for one, seq in zip(found[::2], found[1::2], strict=True)
        ]
        return sorted(made, key=lambda one: one.seq)

    def release(self, market: str, offers: Sequence[UUID], *, back: Mapping[UUID, Sequence[Use]] = NO_USES) -> None:
        """Free the places these offers hold; those that hold none are left alone. `back`: what they no longer use."""
        arguments: list[Argument] = ["".join(offer.hex for offer in offers)]
        if back:
            units = self._units(market, list(back))
            arguments += [packed_uses(back.get(offer, ()), units.get(offer, 1)) for offer in offers]
        self._run("release", MarketKeys(market).with_uses, arguments)

    def uses(self, market: str) -> dict[str, dict[int, int]]:
        """What is used of the limits: counter -> bucket -> units."""
        with in_our_words():
            found: Any = self._redis.hgetall(MarketKeys(market).uses)
        return {counter.decode(): buckets_of(packed) for counter, packed in found.items()}

    def _units(self, market: str, offers: Sequence[UUID]) -> dict[UUID, int]:
        with in_our_words():
            held: Any = self._redis.hmget(MarketKeys(market).offers, [offer.hex for offer in offers])
        places = ((offer, place) for offer, place in zip(offers, held, strict=True) if place and len(place) > 8)
        return {offer: int.from_bytes(place[8:12], "little") for offer, place in places}

    def rebuild(self, market: str, snapshot: Snapshot) -> None:
        """Replace everything held for the market by the snapshot, at once; safe to repeat.

        The snapshot is staged beside the live keys, then one script puts it in their place. Staged keys that the
        server lost half way raise ColdTurnstile, and the live ones stay; so does a live generation as high as the
        snapshot's.
        """
        live, staged = MarketKeys(market), MarketKeys(market, staging=uuid4().hex)
        rotations = set(snapshot.standings) | set(snapshot.ticks) | set(snapshot.cursors)
        slots = self._order_of(market, snapshot)
        with in_our_words():
            open_pages = self._stage(staged, snapshot, rotations, slots)
            pages = {
                name: self._stage_accounts(staged, name, accounts, slots)
                for name, accounts in snapshot.standings.items()
                if accounts
            }
        counts: list[Argument] = [snapshot.generation, snapshot.seq, len(snapshot.open_offers), len(rotations)]
        counts += [len(slots.order), open_pages, slots.token, len(snapshot.uses)]
        for name, number in pages.items():
            counts += [name, number]
        self._run("switch", [*live.all, *staged.all, live.corrections, live.uses, staged.uses], counts)
        self._slots[market] = slots

    def pending(self, market: str, *, older_than_s: float) -> list[Pending]:
        """Reservations that were not settled within that time, oldest first."""
        now, *found = self._run("pending", MarketKeys(market).all, [int(older_than_s * 1e6)])
        records = [(RESERVATION.unpack(of), Record.of(one)) for of, one in zip(found[::2], found[1::2], strict=True)]
        records.sort(key=lambda pair: pair[1].at_us)
        return [
            Pending(lead, attempt, one.offer, one.member, (int(now) - one.at_us) / 1e6)
            for (lead, attempt), one in records
        ]

    def standings(self, market: str, rotation: str) -> dict[int, Standing]:
        """The accounts of one rotation; a member with nothing in its account may be absent."""
        keys = MarketKeys(market)
        order, standing, served = self._read(keys, (keys.standing(rotation), "<f8"), (keys.served(rotation), "<f8"))
        at = np.flatnonzero((standing != 0) | (served != 0))
        values = zip(order[at].tolist(), standing[at].tolist(), served[at].tolist(), strict=True)
        return {member: Standing(int(one), int(tick)) for member, one, tick in values}

    def open_counts(self, market: str) -> dict[int, int]:
        """How many units each member holds; those that hold none are absent."""
        keys = MarketKeys(market)
        order, counts = self._read(keys, (keys.open, "<i4"))
        at = np.flatnonzero(counts)
        return dict(zip(order[at].tolist(), counts[at].tolist(), strict=True))

    def offers(self, market: str) -> dict[UUID, int]:
        """Every offer that holds a place, and whose."""
        keys = MarketKeys(market)
        with in_our_words(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hexists(keys.state, "generation")
            pipe.hgetall(keys.offers)
            warm, found = pipe.execute()
        if not warm:
            raise ColdTurnstile(market=market)
        return {UUID(hex=offer.decode()): int.from_bytes(held[:4], "little") for offer, held in found.items()}

    def forget(self, market: str, rotations: Sequence[str]) -> int:
        """Drop the accounts of these rotations; how many there were. One that is used again begins at zero."""
        return int(self._run("forget", MarketKeys(market).all, list(rotations))) if rotations else 0

    def mark(self, market: str) -> Mark:
        """How far the turnstile is in this market; zeros when it holds nothing."""
        with in_our_words():
            held: list[Any] = self._redis.hmget(MarketKeys(market).state, ["generation", "seq"])
        return Mark(*(int(one or 0) for one in held))

    def probe(self, market: str) -> None:
        """Raise TurnstileUnreachable unless the market's server answers and takes a write."""
        with in_our_words():
            self._redis.set(MarketKeys(market).probe, 1, px=1000)

    def close(self) -> None:
        """Give the connections back; the next call opens new ones."""
        self._redis.close()

    def _run(self, name: str, keys: list[str], arguments: Sequence[Argument]) -> Any:
        with in_our_words():
            try:
                return self._scripts[name](keys=keys, args=arguments)
            except ResponseError as exc:
                if str(exc).startswith("SLOTS"):
                    raise _SlotsChanged from exc
                raise

    # --- where members stand

    def _with_slots(self, market: str, member: Column, generation: int) -> Slots:
        """Slots in which all of these members stand; who had none is given one, neighbours together."""
        slots = self._slots.get(market) or self._load_slots(market)
        unknown = slots.of(member) < 0
        if unknown.any():
            members, first = np.unique(member[unknown], return_index=True)
            members = members[np.argsort(first)]
            token = uuid4().hex
            order = members.astype("<i4").tobytes()
            self._run("enrol", MarketKeys(market).all, [generation, slots.token, token, order])
            slots = slots.with_more(members, token)
        self._slots[market] = slots
        return slots

    def _load_slots(self, market: str) -> Slots:
        keys = MarketKeys(market)
        with in_our_words(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(keys.state, "slots")
            pipe.get(keys.order)
            token, order = pipe.execute()
        if token is None:
            raise ColdTurnstile(market=market)
        return Slots(token.decode(), np.frombuffer(order or b"", dtype="<i4"))

    def _order_of(self, market: str, snapshot: Snapshot) -> Slots:
        """A slot for each member of the snapshot: in its own order, else as they stood before, the rest by id."""
        before = self._slots.get(market)
        told = list(snapshot.order) or (before.order.tolist() if before else [])
        known = set(told)
        members = {m for accounts in snapshot.standings.values() for m in accounts} | set(snapshot.open_offers.values())
        order = [*told, *sorted(members - known)]
        return Slots(uuid4().hex, np.array(order, dtype="<i4"))

    def _read(self, keys: MarketKeys, *hashes: tuple[str, str]) -> list[np.ndarray[Any, Any]]:
        """The order of members, and these hashes of pages slot by slot; all at one instant.

        Raises ColdTurnstile when there is no generation.
        """
        with in_our_words(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hexists(keys.state, "generation")
            pipe.get(keys.order)
            for name, _ in hashes:
                pipe.hgetall(name)
            warm, order, *found = pipe.execute()
        if not warm:
            raise ColdTurnstile(market=keys.market)
        members = np.frombuffer(order or b"", dtype="<i4")
        return [members, *(spread(pages, kind, len(members)) for pages, (_, kind) in zip(found, hashes, strict=True))]

    # --- staging

    def _stage(self, staged: MarketKeys, snapshot: Snapshot, rotations: set[str], slots: Slots) -> int:
        held = Counter(snapshot.open_offers.values())
        for offer, units in snapshot.units.items():
            held[snapshot.open_offers[offer]] += units - 1
        members = np.fromiter(snapshot.open_offers.values(), np.int32, len(snapshot.open_offers))
        places = np.stack([members, slots.of(members)], axis=1).astype("<i4").tobytes()
        offers = {offer.hex: places[at * 8 : at * 8 + 8] for at, offer in enumerate(snapshot.open_offers)}
        offers |= {o.hex: offers[o.hex] + units.to_bytes(4, "little") for o, units in snapshot.units.items()}
        self._put(staged.offers, offers)
        self._put(staged.ticks, {name: snapshot.ticks.get(name, 0) for name in rotations})
        self._put(staged.cursors, {name: snapshot.cursors.get(name, 0) for name in rotations})
        self._put(staged.uses, {counter: packed_buckets(held) for counter, held in snapshot.uses.items()})
        self._put(staged.order, slots.order.astype("<i4").tobytes())
        pages = _pages(held, slots, "<i4")
        self._put(staged.open, pages)
        return len(pages)

    def _stage_accounts(self, staged: MarketKeys, name: str, accounts: Mapping[int, Standing], slots: Slots) -> int:
        standing = _pages({member: one.standing for member, one in accounts.items()}, slots, "<f8")
        self._put(staged.standing(name), standing)
        self._put(staged.served(name), _pages({member: one.served for member, one in accounts.items()}, slots, "<f8"))
        return len(standing)

    def _put(self, key: str, what: Mapping[str, int | bytes] | bytes) -> None:
        if isinstance(what, bytes):
            if what:
                self._redis.set(key, what, ex=STAGED_S)
            return
        for chunk in _chunks(what.items(), CHUNK):
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, mapping=dict(chunk))
                pipe.expire(key, STAGED_S)
                pipe.execute()


class _SlotsChanged(Exception):  # noqa: N818 - never leaves this module
    """Members stand elsewhere than we thought."""


def _pages(values: Mapping[int, int], slots: Slots, kind: str) -> dict[str, int | bytes]:
    """Numbers of members as pages of slots, those pages that have any."""
    if not values:
        return {}
    slot = slots.of(np.fromiter(values.keys(), np.int32, len(values)))
    spread = np.zeros(-(-len(slots.order) // PAGE) * PAGE, dtype=kind)
    spread[slot] = np.fromiter(values.values(), np.float64, len(values))
    rows = spread.reshape(-1, PAGE)
    return {str(page): rows[page].tobytes() for page in np.unique(slot // PAGE).tolist()}


def spread(pages: Mapping[bytes, bytes], kind: str, count: int) -> np.ndarray[Any, Any]:
    """Pages laid one behind the other, up to the last slot given."""
    rows = np.zeros((-(-count // PAGE), PAGE), dtype=kind)
    if pages:
        at = np.array([int(page) for page in pages])
        rows[at] = np.frombuffer(b"".join(pages.values()), dtype=kind).reshape(-1, PAGE)
    return rows.reshape(-1)[:count]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk

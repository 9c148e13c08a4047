"""The turnstile looked at as a whole, and mended where the ledger says that it is wrong."""

import struct
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np

from routing.drift import Corrected, Drift, Held, Reserved
from routing.errors import ColdTurnstile
from routing.fairness import Book
from routing.policy import Mode
from storage.redis import scripts
from storage.redis.client import Client, connect, in_our_words
from storage.redis.keys import MarketKeys
from storage.redis.limited import Argument, buckets_of, unpacked_uses
from storage.redis.records import RECORD, Moved, Record
from storage.redis.turnstile import spread

_PLACE = struct.Struct("<ii")
_HEAVY = struct.Struct("<iii")


class TurnstileAudit:
    """Keeps routing.auditor.Inspected's promises; safe to share between threads."""

    def __init__(self, at: str | Client) -> None:
        self._redis = connect(at) if isinstance(at, str) else at
        self._amend = scripts.bind("amend", self._redis)
        self._run_id = scripts.bind("run_id", self._redis)

    def look(self, market: str) -> Held | None:
        """Everything held for a market at one instant; None when it holds nothing, or is not what was loaded."""
        keys = MarketKeys(market)
        with in_our_words():
            if self._run_id(keys=[keys.state], args=[]) != 1:
                return None
            names: list[Any] = self._redis.hkeys(keys.ticks)
            rotations = [name.decode() for name in names]
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(keys.state, ["generation", "seq", "slots"])
                pipe.get(keys.order)
                pipe.hgetall(keys.uses)
                for name in (keys.offers, keys.open, keys.reservations, keys.corrections, keys.ticks, keys.cursors):
                    pipe.hgetall(name)
                for rotation in rotations:
                    pipe.hgetall(keys.standing(rotation))
                    pipe.hgetall(keys.served(rotation))
                (generation, seq, slots), order, uses, *hashes = pipe.execute()
                offers, open_, reserved, corrected, ticks, cursors, *accounts = hashes
        if generation is None or {name.decode() for name in ticks} != set(rotations):
            return None  # it was rebuilt, or has a new rotation, since
        members = np.frombuffer(order or b"", dtype="<i4")
        books = {
            rotation: Book(
                _by_member(accounts[2 * n], members),
                _by_member(accounts[2 * n + 1], members),
                int(ticks[rotation.encode()]),
                int(cursors.get(rotation.encode(), 0)),
            )
            for n, rotation in enumerate(rotations)
        }
        counts = spread(open_, "<i4", len(members))
        return Held(
            generation=int(generation),
            seq=int(seq),
            slots=slots.decode(),
            order=tuple(members.tolist()),
            offers={UUID(hex=offer.decode()): _PLACE.unpack_from(place)[0] for offer, place in offers.items()},
            units={UUID(hex=o.decode()): _HEAVY.unpack(p)[2] for o, p in offers.items() if len(p) > _PLACE.size},
            counts={int(members[at]): int(counts[at]) for at in np.flatnonzero(counts)},
            reserved=tuple(sorted((_reserved(one, members) for one in reserved.values()), key=lambda one: one.seq)),
            corrected=tuple(_corrected(one, members) for one in corrected.values()),
            books=books,
            uses={counter.decode(): buckets_of(packed) for counter, packed in uses.items()},
        )

    def amend(self, market: str, held: Held, found: Drift) -> bool:
        """Mend what was found, all at once; False when members stand elsewhere by now, or it is of another generation.

        Sums are corrected by what they lack, so what is decided meanwhile does no harm; everything else only while it
        is as it was seen.
        """
        slot = {member: at for at, member in enumerate(held.order)}
        if not all(member in slot for member in _members(found)):
            return False
        leaked = b"".join(offer.hex.encode() for offer in found.leaked)
        missing = b"".join(
            offer.hex.encode() + _HEAVY.pack(member, slot[member], found.units.get(offer, 1))
            for offer, member in found.missing.items()
        )
        arguments: list[Argument] = [held.generation, held.slots, leaked, missing, int(bool(found.miscounted))]
        for (counter, bucket), lacks in found.uses.items():
            arguments += ["use", counter, bucket, lacks, 0]
        for (rotation, member), lacks in found.standings.items():
            arguments += ["standing", rotation, slot[member], lacks, 0]
        for (rotation, member), (seen, right) in found.served.items():
            arguments += ["served", rotation, slot[member], seen, right]
        for rotation, (seen, right) in found.ticks.items():
            arguments += ["tick", rotation, 0, seen, right]
        for rotation, (seen, right) in found.cursors.items():
            arguments += ["cursor", rotation, 0, seen, right]
        try:
            with in_our_words():
                return bool(self._amend(keys=MarketKeys(market).with_uses, args=arguments))
        except ColdTurnstile:
            return False

    def close(self) -> None:
        """Give the connections back; the next call opens new ones."""
        self._redis.close()


def _members(found: Drift) -> set[int]:
    accounts = {member for _, member in (*found.standings, *found.served)}
    return accounts | set(found.missing.values())


def _by_member(pages: Mapping[bytes, bytes], members: Any) -> dict[int, int]:
    numbers = spread(pages, "<f8", len(members))
    return {int(members[at]): int(numbers[at]) for at in np.flatnonzero(numbers)}


def _corrected(packed: bytes, members: Any) -> Corrected:
    """One unsettled correction; the layout is told in scripts/correct.lua."""
    moved = Moved.of(packed)
    return Corrected(
        moved.seq,
        moved.rotation,
        {int(members[slot]): delta for slot, delta in zip(moved.slots, moved.deltas, strict=True)},
    )


def _reserved(packed: bytes, members: Any) -> Reserved:
    """One unsettled turn; the layout is told in scripts/shared.lua."""
    record = Record.of(packed)
    count, without, at = record.candidates, record.without_room, RECORD.size
    slots = np.frombuffer(packed, dtype="<i4", count=count, offset=at)
    weights = np.frombuffer(packed, dtype="<i4", count=count, offset=at + 4 * count)
    full = set(np.frombuffer(packed, dtype="<i4", count=without, offset=at + 8 * count).tolist())
    at += 8 * count + 4 * without if record.moved else 0
    rotation = packed[at : at + record.name].decode()
    uses = tuple(unpacked_uses(packed[at + record.name :]))
    total, turn = int(record.weights), int(record.turn)
    shares = {
        int(members[slot]): weight * turn // total
        for n, (slot, weight) in enumerate(zip(slots.tolist(), weights.tolist(), strict=True), start=1)
        if n not in full
    }
    mode = Mode.FAIR if record.moved else Mode.LEAST_RECENT  # of the others only fair moves standings
    moved = shares if record.moved else {}
    return Reserved(record.offer, int(record.seq), rotation, mode, record.member, moved, uses)

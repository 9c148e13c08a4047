"""How asks and answers are packed between Python and Lua; the layout of an answer is told in scripts/shared.lua."""

import struct
from typing import NamedTuple
from uuid import UUID

from routing.decision import Ask, Grant, Group, Sight
from routing.errors import BadInput
from routing.fairness import decimetres

ANSWER = struct.Struct("<iiiiiqqq32s")
SIGHT = struct.Struct("<iiiqq")

Argument = str | int | bytes


def reservation_id(lead: int, attempt: int) -> str:
    return f"{lead}:{attempt}"


def lead_and_attempt(reservation: bytes) -> tuple[int, int]:
    lead, _, attempt = reservation.partition(b":")
    return int(lead), int(attempt)


def pack_ask(ask: Ask) -> list[Argument]:
    """The arguments of one ask. Raises BadInput when a number is too large for the turnstile."""
    try:
        packed: list[Argument] = [reservation_id(ask.lead, ask.attempt), ask.offer.hex, ask.mode.value, len(ask.groups)]
        for group in ask.groups:
            packed += [group.rotation, _pack_candidates(group)]
    except struct.error as exc:
        fix = "Member ids, weights (thousandths) and capacities are whole numbers below 2,147,483,648."
        raise BadInput("does not fit the turnstile", field="candidates", fix=fix, lead=ask.lead) from exc
    return packed


def unpack_grant(lead: int, attempt: int, packed: bytes, *, repeated: bool) -> Grant:
    answer = Answer.of(packed)
    return Grant(
        lead=lead,
        attempt=attempt,
        offer=answer.offer,
        member=answer.member or None,
        group=answer.group if answer.group >= 0 else None,
        seq=answer.seq,
        at_us=answer.at_us,
        sights=_unpack_sights(packed, answer.sights),
        repeated=repeated,
    )


class Answer(NamedTuple):
    """The fixed part of a packed answer."""

    member: int
    group: int
    moved: int
    cursor_before: int
    sights: int
    seq: int
    at_us: int
    tick: int
    offer_hex: bytes

    @classmethod
    def of(cls, packed: bytes) -> "Answer":
        return cls._make(ANSWER.unpack_from(packed))

    @property
    def offer(self) -> UUID:
        return UUID(hex=self.offer_hex.decode())


def _pack_candidates(group: Group) -> bytes:
    numbers = [n for c in group.candidates for n in (c.member, c.weight, c.capacity, decimetres(c.distance_m))]
    return struct.pack(f"<{len(numbers)}i", *numbers)


def _unpack_sights(packed: bytes, count: int) -> tuple[Sight, ...]:
    sights = SIGHT.iter_unpack(packed[ANSWER.size : ANSWER.size + count * SIGHT.size])
    return tuple(
        Sight(member, share >= 0, open_, standing, served) for member, share, open_, standing, served in sights
    )

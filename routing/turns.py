"""Turns set right after the fact: given back, taken twice, or moved by a person's hand.

A correction moves standings, and nothing else: they still add up to zero. Who was asked, and when, stays as it was,
so ticks and cursors stay too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from routing.fairness import TURN

#: Of a correction by hand, in turns.
MOST_BY_HAND = 1_000


class Effect(StrEnum):
    """What a correction does."""

    RETURN = "return"  # the turn of an offer is given back, as if the offer had never been
    PENALISE = "penalise"  # the turn of an offer is paid once more
    GIVE = "give"  # a person owes the member turns
    TAKE = "take"  # a person takes turns from the member
    COUNT = "count"  # a lead that the member got outside of its turn costs it one
    REPAY = "repay"  # a member gets what an absence is worth
    FORGET = "forget"  # what fell out of a rolling window is taken out again


@dataclass(frozen=True, slots=True)
class Correction:
    """How the accounts of one rotation are to move; made once, carried out once."""

    id: UUID  # the offer's, when there is one
    market: str
    rotation: str
    effect: Effect
    reason: str
    deltas: Mapping[int, int]  # micro-turns by member, adding up to zero
    offer: UUID | None = None
    actor: str = "fairturn"


@dataclass(frozen=True, slots=True)
class Numbered:
    """A correction that was carried out: its number in the one order of decisions and corrections, and when."""

    id: UUID
    seq: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A correction the turnstile has carried out, and nobody has told it that the ledger knows."""

    id: UUID
    generation: int
    seq: int


class Corrects(Protocol):
    """Who carries corrections out: the turnstile, or while it is away the ledger itself."""

    def correct(self, market: str, corrections: Sequence[Correction], *, generation: int) -> list[Numbered]:
        """Move the standings, in order; one that was carried out before keeps its number and moves nothing."""
        ...


def of_offer(effect: Effect, chosen: int, shares: Mapping[int, int]) -> dict[int, int]:
    """The deltas for an offer's turn: everyone who earned a share gives it back, or earns it once more.

    `shares`: what everyone eligible earned by the offer's decision; the member that was chosen paid their sum.
    """
    sign = -1 if effect is Effect.RETURN else 1
    payment = sum(shares.values())
    return {member: sign * (share - payment * (member == chosen)) for member, share in shares.items()}


def by_hand(effect: Effect, member: int, turns: int, weights: Mapping[int, int]) -> dict[int, int]:
    """The deltas when a person gives a member turns, or takes them: the others owe or gain them, each by its weight.

    `weights`: of all other members of the rotation. Parts are rounded down to whole micro-turns, and the member moves
    by exactly their sum.
    """
    sign = -1 if effect is Effect.GIVE else 1
    total = max(sum(weights.values()), 1)
    parts = {other: sign * (turns * TURN * weight // total) for other, weight in weights.items()}
    return {**parts, member: -sum(parts.values())}

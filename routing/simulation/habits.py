"""How members answer, as far as nobody saw it: rates and delays by tier, taken from what was seen, or stated."""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import accumulate

from routing.answering import TAKEN
from routing.errors import BadInput
from routing.lead import Reason
from routing.offer import Kind, OfferState
from routing.simulation.past import PastOffer

#: A tier with fewer answers than this answers as all tiers together do.
ENOUGH = 20
#: Of an offer that ended with its lead, or because another member was faster, the own answer was never seen.
_NOT_ITS_OWN = frozenset({TAKEN, *(str(r) for r in (Reason.OWNED, Reason.DELETED, Reason.CONVERTED, Reason.BY_HAND))})
_SECOND = timedelta(seconds=1)
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """What a member makes of an offer; lengths in microseconds, from the offer and from acceptance."""

    answer: OfferState | None  # accepted, rejected, withdrawn by others; None: silence
    after: int = 0
    reason: str = ""
    then: OfferState | None = None  # of an accepted one; None: held to the end
    hold: int = 0
    then_reason: str = ""
    seen: bool = False  # it was so, for this very member and lead


SILENCE = Reply(None)


@dataclass(frozen=True, slots=True)
class Habit:
    """How one tier answers: shares of one, and the lengths that were seen, ascending, in microseconds."""

    offers: int
    accept: float
    reject: float
    accept_after: Sequence[int]
    reject_after: Sequence[int]
    ends: Mapping[str, float] = field(default_factory=dict)  # of accepted ones; the rest is held to the end
    hold: Sequence[int] = ()
    reasons: Sequence[str] = ()  # that were given for rejecting, one an offer

    @property
    def ignore(self) -> float:
        return max(0.0, 1 - self.accept - self.reject)

    def to_json(self) -> dict[str, object]:
        """In numbers, for the report: delays in minutes at 10, 50 and 90 percent."""
        return {
            "offers": self.offers,
            "accept": round(self.accept, 4),
            "reject": round(self.reject, 4),
            "ignore": round(self.ignore, 4),
            "accept_after_min": _deciles(self.accept_after),
            "reject_after_min": _deciles(self.reject_after),
            "ends": {name: round(share, 4) for name, share in self.ends.items()},
            "hold_min": _deciles(self.hold),
        }


#: Where nothing was seen and nothing was said.
ASSUMED = Habit(
    0,
    0.65,
    0.20,
    [n * 60 * _US for n in (2, 5, 10, 15, 25, 40, 60, 90, 150, 220)],
    [n * 60 * _US for n in (2, 5, 10, 15, 25, 40, 60, 90, 150, 220)],
    {"completed": 0.55, "lost": 0.25, "returned": 0.05},
    [n * 3600 * _US for n in (6, 12, 24, 36, 48, 72, 96, 144, 192, 240)],
)


@dataclass(frozen=True, slots=True)
class Habits:
    """The stated assumption: what each tier does with an offer whose answer was never seen."""

    by_tier: Mapping[str, Habit]
    overall: Habit
    seed: int = 1
    stated: Mapping[str, float] = field(default_factory=dict)  # what was given by hand

    def of(self, tier: str) -> Habit:
        return self.by_tier.get(tier, self.overall)

    def reply(self, lead: int, member: int, tier: str, *, nth: int = 0, longer_than: int = 0) -> Reply:
        """What this member would say to this lead: the same under every policy, whatever came before.

        `longer_than`: it was silent for so long; earlier answers are out of the question.
        """
        dice = random.Random(f"{self.seed} {lead} {member} {nth}")  # noqa: S311 - a game, to be repeatable
        habit = self.of(tier)
        lot, at = dice.random(), dice.random()
        if lot < habit.accept:
            after = _drawn(habit.accept_after, at)
            made = _end(habit, dice, Reply(OfferState.ACCEPTED, after))
        elif lot < habit.accept + habit.reject:
            why = habit.reasons[int(dice.random() * len(habit.reasons))] if habit.reasons else "other"
            made = Reply(OfferState.REJECTED, _drawn(habit.reject_after, at), why)
        else:
            return SILENCE
        return made if made.after > longer_than else SILENCE

    @classmethod
    def seen(cls, offers: Iterable[PastOffer], tiers: Mapping[int, str], *, seed: int = 1) -> "Habits":
        """As the members answered these offers; a tier of few answers goes by all of them, none at all by ASSUMED."""
        by_tier: defaultdict[str, list[PastOffer]] = defaultdict(list)
        for offer in offers:
            if offer.kind is Kind.TURN and _is_its_own(offer):
                by_tier[tiers.get(offer.member, "")].append(offer)
        every = [offer for its in by_tier.values() for offer in its]
        overall = _habit(every) if len(every) >= ENOUGH else replace(ASSUMED, offers=0)
        known = {tier: _habit(its) for tier, its in sorted(by_tier.items()) if len(its) >= ENOUGH}
        return cls(known, overall, seed)

    def told(
        self, *, accept: float | None = None, reject: float | None = None, delay: timedelta | None = None
    ) -> "Habits":
        """The same with what somebody says by hand, for every tier; `delay` is the median to an answer."""
        said = {"accept": accept, "reject": reject, "delay_s": None if delay is None else delay / _SECOND}
        stated = {name: float(value) for name, value in said.items() if value is not None}
        if not stated:
            return self
        one = {tier: _changed(habit, accept, reject, delay) for tier, habit in self.by_tier.items()}
        return replace(self, by_tier=one, overall=_changed(self.overall, accept, reject, delay), stated=stated)


def seen(offer: PastOffer, now: int) -> Reply | None:
    """What became of an offer, to be reused for the same member and lead; None: nobody saw its answer."""
    if not _is_its_own(offer):
        return None
    if offer.accepted is not None:
        after = offer.accepted - offer.offered
        over = offer.state is OfferState.ACCEPTED or offer.ended is None or offer.reason in _NOT_ITS_OWN
        if over:
            return Reply(OfferState.ACCEPTED, after, seen=True)
        hold = (offer.ended or now) - offer.accepted
        return Reply(OfferState.ACCEPTED, after, "", offer.state, hold, offer.reason, seen=True)
    if offer.state is OfferState.REJECTED and offer.ended is not None:
        return Reply(OfferState.REJECTED, offer.ended - offer.offered, offer.reason, seen=True)
    if offer.state is OfferState.WITHDRAWN and offer.ended is not None:
        return Reply(OfferState.WITHDRAWN, offer.ended - offer.offered, offer.reason, seen=True)
    return replace(SILENCE, seen=True) if offer.state is OfferState.EXPIRED else None


def _is_its_own(offer: PastOffer) -> bool:
    if offer.state is OfferState.OFFERED:
        return False
    return offer.accepted is not None or offer.reason not in _NOT_ITS_OWN


def _habit(offers: Sequence[PastOffer]) -> Habit:
    accepted = [o for o in offers if o.accepted is not None]
    rejected = [o for o in offers if o.state is OfferState.REJECTED and o.ended is not None]
    ended = [o for o in accepted if o.ended is not None and o.state is not OfferState.ACCEPTED]
    counts = {str(state): sum(o.state is state for o in ended) for state in {o.state for o in ended}}
    return Habit(
        len(offers),
        len(accepted) / len(offers),
        len(rejected) / len(offers),
        sorted((o.accepted or 0) - o.offered for o in accepted),
        sorted((o.ended or 0) - o.offered for o in rejected),
        {name: n / len(accepted) for name, n in sorted(counts.items())},
        sorted((o.ended or 0) - (o.accepted or 0) for o in ended),
        sorted(o.reason for o in rejected),
    )


def _end(habit: Habit, dice: random.Random, accepted: Reply) -> Reply:
    """How what was accepted ends."""
    lot, at = dice.random(), dice.random()
    edges = list(accumulate(habit.ends.values()))
    which = bisect_right(edges, lot)
    if which >= len(edges) or not habit.hold:
        return accepted
    state = OfferState(list(habit.ends)[which])
    reason = "other" if state is OfferState.RETURNED else ""
    return replace(accepted, then=state, hold=_drawn(habit.hold, at), then_reason=reason)


def _drawn(lengths: Sequence[int], at: float) -> int:
    """A length from those seen, between two of them where it falls between."""
    if not lengths:
        return 600 * _US
    place = at * (len(lengths) - 1)
    low = int(place)
    high = min(low + 1, len(lengths) - 1)
    return max(1, round(lengths[low] + (lengths[high] - lengths[low]) * (place - low)))


def _changed(habit: Habit, accept: float | None, reject: float | None, delay: timedelta | None) -> Habit:
    yes = habit.accept if accept is None else accept
    no = reject if reject is not None else min(habit.reject, 1 - yes)
    for name, share in (("--accept-rate", yes), ("--reject-rate", no)):
        if not 0 <= share <= 1:
            raise BadInput(f"{share:g} is no share", field=name, fix="Give a number from 0 to 1.")
    if yes + no > 1 + 1e-9:
        raise BadInput(f"{yes:g} accept and {no:g} reject are more than all", field="--reject-rate", fix="Give less.")
    made = replace(habit, accept=yes, reject=no)
    if delay is None:
        return made
    return replace(
        made,
        accept_after=_stretched(habit.accept_after, delay // timedelta(microseconds=1)),
        reject_after=_stretched(habit.reject_after, delay // timedelta(microseconds=1)),
    )


def _stretched(lengths: Sequence[int], median: int) -> list[int]:
    known = list(lengths) or list(ASSUMED.accept_after)
    middle = _drawn(known, 0.5)
    return [max(1, one * median // max(middle, 1)) for one in known]


def _deciles(lengths: Sequence[int]) -> list[float]:
    return [round(_drawn(lengths, at) / 60 / _US, 1) for at in (0.1, 0.5, 0.9)] if lengths else []

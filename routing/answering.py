"""Answers to offers: the rules around them, and the desk that takes them and tells the workers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypedDict, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from routing.errors import BadInput
from routing.hours import deadline
from routing.journey import Announce
from routing.offer import Actor, AlreadyAnswered, Answered, OfferExpired, OfferState, OfferTaken, UnknownOffer, refusal
from routing.policy import Answering, TurnEffect

#: The reason of an offer that ended because another member, asked at the same time, was faster.
TAKEN = "taken"
#: The reason where a person who manages the programme gave none.
BY_HAND = "by_hand"
#: The reason of an offer that was taken back as its lead has changed.
REROUTED = "rerouted"
#: The reasons of offers that we took back ourselves, whatever their member thought of them.
TAKEN_BACK = (REROUTED, TAKEN)
#: Whose answers count as the member's own, for its limits.
ITS_OWN = frozenset({Actor.MEMBER, Actor.LINK})
#: A reason is a word of a list; nothing personal fits into it.
LONGEST_REASON = 64

#: What there is to do after any answer.
AFTERWARDS = ("outbox.deliver", "deliveries.send")

Then = Literal["route", "hold"]


@dataclass(frozen=True, slots=True)
class Held:
    """An offer as it is, for judging an answer."""

    id: UUID
    lead_id: int
    member_id: int
    state: OfferState
    reason: str | None
    version: int
    expires_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    now: datetime  # the ledger's


def judge(held: Held | None, asked: OfferState, reason: str | None, member: int | None) -> Answered | None:
    """What an answer comes to that changes nothing: the same one given before, or a refusal; None: it may be made.

    `member` given: offers of others do not exist. Raises UnknownOffer, AlreadyAnswered, OfferExpired and so on.
    """
    if held is None or held.state is OfferState.VOID or member not in {None, held.member_id}:
        raise UnknownOffer
    if held.state is asked and (reason is None or reason == held.reason):
        at = held.ended_at or held.accepted_at or held.now
        return Answered(held.id, held.lead_id, held.member_id, held.state, at, repeated=True)
    if held.state is asked:
        raise AlreadyAnswered(f"The offer was answered before: it is {held.state}, {held.reason}.", state=str(asked))
    if held.state is OfferState.WITHDRAWN and held.reason == TAKEN:
        raise OfferTaken(state=str(held.state), ended_at=held.ended_at.isoformat() if held.ended_at else None)
    answers = held.state is OfferState.OFFERED and asked in {OfferState.ACCEPTED, OfferState.REJECTED}
    if held.state is OfferState.EXPIRED or (answers and held.expires_at <= held.now):
        raise expired(held)
    if answers:
        return None
    if held.state is OfferState.OFFERED and asked is OfferState.WITHDRAWN:
        return None
    if held.state is OfferState.ACCEPTED and asked not in {OfferState.ACCEPTED, OfferState.REJECTED}:
        return None
    raise refusal(asked, held.state, held.ended_at)


def expired(held: Held) -> OfferExpired:
    """The refusal of an offer whose deadline is past, whether its end is written down yet or not."""
    at = held.expires_at
    return OfferExpired(
        f"The offer expired at {at:%Y-%m-%d %H:%M:%S} UTC.", state=str(OfferState.EXPIRED), ended_at=at.isoformat()
    )


def turn_effect(state: OfferState, reason: str | None, rules: Answering) -> TurnEffect:
    """What an offer's end means for its member's turn (row F9): by the policy's table, else it is used up."""
    by_reason = {
        OfferState.REJECTED: rules.reject_reasons.get(reason or "", TurnEffect.CONSUME),
        OfferState.RETURNED: rules.return_reasons.get(reason or "", TurnEffect.CONSUME),
        OfferState.EXPIRED: rules.expired_turn,
    }
    return by_reason.get(state, TurnEffect.CONSUME)


def reason_of(reason: str | None, known: Iterable[str], actor: Actor) -> str:
    """The reason as it is kept: one of the policy's, or any word when a manager or Salesforce says it."""
    names = list(known)
    if reason in names:
        return str(reason)
    if actor in {Actor.MANAGER, Actor.SALESFORCE}:
        return _word(reason) if reason else BY_HAND
    said = f"{_shown(reason)} is none of the reasons" if reason else "a reason is missing"
    raise BadInput(said, field="reason", fix=f"Say one of: {', '.join(names)}.", reasons=names)


def _word(reason: str) -> str:
    if len(reason) > LONGEST_REASON or not reason.replace("_", "a").isalnum():
        raise BadInput(
            f"{_shown(reason)} is not a word", field="reason", fix=f"Letters, digits and _, at most {LONGEST_REASON}."
        )
    return reason


def _shown(reason: str | None) -> str:
    text = repr(reason)
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


# --- limits


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a member's limits in one pool; `rejects_a_day` None: no limit."""

    pool: str
    rejects_a_day: int | None
    rejected_today: int
    day_ends: datetime
    accepted_this_month: int
    returned_this_month: int
    returns_this_month: int  # so many go back by themselves
    month_ends: datetime

    @property
    def rejects_left(self) -> int | None:
        """Rejects that need no manager; None: as many as it likes."""
        return None if self.rejects_a_day is None else max(0, self.rejects_a_day - self.rejected_today)

    @property
    def returns_left(self) -> int:
        """Returns that go back by themselves."""
        return max(0, self.returns_this_month - self.returned_this_month)


def returns_allowed(accepted: int, percent: int) -> int:
    """Of so many leads accepted in a month, how many go back by themselves: rounded down, the first one in any case.

    With 10 percent: 1 of 1 to 19 accepted, 2 of 20 to 29; with 0 percent none.
    """
    return max(1, accepted * percent // 100) if accepted and percent else 0


def zone_of(attribute: object, answering: Answering) -> ZoneInfo:
    """By whose calendar a member's days count: its own `timezone`, else that of the pool's working hours, else UTC."""
    for name in (attribute, answering.hours.zone if answering.hours else None):
        if isinstance(name, str) and name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return ZoneInfo("UTC")


def day_of(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the day of `now` began there, and when it ends."""
    local = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return _utc(local), _utc(_start_of_day(local + timedelta(days=1, hours=12)))


def month_of(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """When the month of `now` began there, and when it ends."""
    first = _start_of_day(now.astimezone(zone)).replace(day=1)
    return _utc(first), _utc(_start_of_day(first + timedelta(days=32)).replace(day=1))


def _start_of_day(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def _utc(local: datetime) -> datetime:
    return local.astimezone(UTC)


def work_times(now: datetime, answering: Answering) -> tuple[datetime | None, datetime | None]:
    """Until when the next step of an accepted lead is due, and when to warn; (None, None) where no time is set."""
    if answering.work_within is None:
        return None, None
    warned = answering.work_within * answering.work_warning / 100
    return deadline(now, answering.work_within, answering.hours), deadline(now, warned, answering.hours)


# --- the desk


@dataclass(frozen=True, slots=True)
class By:
    """Whose answer it is. `member` given: offers of others do not exist; `version`: the offer as it was seen.

    `key`: the request's own, in the caller's words; what would otherwise be done again is done once under it.
    """

    actor: Actor = Actor.MEMBER
    member: int | None = None
    person: UUID | None = None
    version: int | None = None
    task_id: str = ""
    key: str = ""


class Who(TypedDict, total=False):
    """By, as keywords."""

    actor: Actor
    member: int | None
    person: UUID | None
    version: int | None
    task_id: str
    key: str


class AnswerBook(Protocol):
    """What the desk asks of the ledger; each method is one transaction, and safe to repeat."""

    def accept(self, offer: UUID, **who: Unpack[Who]) -> Answered: ...
    def reject(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered: ...
    def complete(self, offer: UUID, **who: Unpack[Who]) -> Answered: ...
    def lose(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered: ...
    def give_back(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered: ...
    def extend(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered: ...
    def progress(self, offer: UUID, **who: Unpack[Who]) -> Answered: ...
    def rescind(self, offer: UUID, reason: str | None, *, then: Then, **who: Unpack[Who]) -> Answered: ...
    def allowance(self, member: int) -> Sequence[Allowance]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes answers: the ledger's word first, then the workers are told what follows from it.

    Raises UnknownOffer, AlreadyAnswered, OfferExpired, OfferTaken, OfferWithdrawn, WrongState and the limits' own
    refusals, BadInput for a reason that is none, OfferChanged when the offer is not of the version that was seen.
    """

    answers: AnswerBook
    announce: Announce
    nudge: Callable[[str], object]

    def accept(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """Take the lead; only while the offer is open and its deadline not past."""
        return self._told(self.answers.accept(offer, **who))

    def reject(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """Turn the lead down, for one of the policy's reasons; it goes on to the next member."""
        return self._told(self.answers.reject(offer, reason, **who))

    def complete(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """The accepted lead became a job, and is done."""
        return self._told(self.answers.complete(offer, **who))

    def lose(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """The accepted lead came to nothing, for one of the policy's reasons, and is done."""
        return self._told(self.answers.lose(offer, reason, **who))

    def give_back(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """Return the accepted lead: within the limits it goes on to the next member, else to a person."""
        return self._told(self.answers.give_back(offer, reason, **who))

    def extend(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """Keep the accepted lead for the time of one more step, for one of the policy's reasons."""
        return self._told(self.answers.extend(offer, reason, **who))

    def progress(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """A step was made on the accepted lead: the time for the next one begins anew."""
        return self._told(self.answers.progress(offer, **who))

    def rescind(self, offer: UUID, reason: str | None, *, then: Then, **who: Unpack[Who]) -> Answered:
        """Take the offer back: the lead goes on to another member, without using up a move, or is held."""
        return self._told(self.answers.rescind(offer, reason, then=then, **who))

    def allowance(self, member: int) -> Sequence[Allowance]:
        """What is left of the member's limits, by pool of its market."""
        return self.answers.allowance(member)

    def _told(self, answered: Answered) -> Answered:
        """After the commit; a message that gets lost costs time only, the relay finds the rows."""
        if not answered.repeated:
            if answered.route:
                self.announce("leads.route", [answered.lead_id], answered.lane)
            if answered.frees:
                self.nudge("outbox.free")
            for task in AFTERWARDS:
                self.nudge(task)
        return answered

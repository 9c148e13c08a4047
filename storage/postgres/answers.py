"""Answers to offers in the ledger: each is one transaction, one conditional statement, and has one winner."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Unpack
from uuid import UUID

import sqlalchemy as sa

from routing.answering import (
    ITS_OWN,
    Allowance,
    By,
    Held,
    Then,
    Who,
    day_of,
    judge,
    month_of,
    reason_of,
    returns_allowed,
    turn_effect,
    work_times,
    zone_of,
)
from routing.lane import Lane
from routing.lead import Reason
from routing.offer import (
    LEGAL,
    Answered,
    ExtensionRefused,
    Notice,
    OfferChanged,
    OfferState,
    RejectLimitReached,
    ReturnWindowClosed,
    UnknownOffer,
)
from routing.policy import Answering
from storage.postgres.accepting import accepted
from storage.postgres.corrections import owe_correction
from storage.postgres.ending import Ended, conclude, tell_salesforce
from storage.postgres.engine import transaction
from storage.postgres.notices import tell_members
from storage.postgres.onward import NO_POOL, go_on
from storage.postgres.steps import note, withdraw

#: What happens to an accepted offer without ending it, in the timeline's words and as it is told.
EXTENDED, PROGRESS = ("extended", Notice.EXTENDED), ("progress", Notice.CHANGED)


class Answers:
    """Every way in which a person changes an offer.

    An answer given before comes back as it was (`repeated`); any other that comes too late is refused with what is
    and since when. Nothing is changed then. TryLater says that the ledger is crowded: the same call may be repeated.
    """

    def __init__(self, engine: sa.Engine, answering: Callable[[], Mapping[str, Answering]]) -> None:
        self._engine = engine
        self._answering = answering

    def accept(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """Give the lead to the offer's member; of several who were asked at once the first has it."""
        return self._answer(offer, OfferState.ACCEPTED, None, By(**who))

    def reject(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """End the offer and send its lead on; within the member's limit of a day."""
        return self._answer(offer, OfferState.REJECTED, reason, By(**who))

    def complete(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """The lead is done."""
        return self._answer(offer, OfferState.COMPLETED, None, By(**who))

    def lose(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """The lead is done, and came to nothing."""
        return self._answer(offer, OfferState.LOST, reason, By(**who))

    def give_back(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """End the accepted offer within the window; its lead goes on, or to a person beyond the member's share."""
        return self._answer(offer, OfferState.RETURNED, reason, By(**who))

    def rescind(self, offer: UUID, reason: str | None, *, then: Then, **who: Unpack[Who]) -> Answered:
        """Take the offer back; its lead goes to somebody else, without using up a move, or is taken out."""
        return self._answer(offer, OfferState.WITHDRAWN, reason, By(**who), then=then)

    def extend(self, offer: UUID, reason: str | None, **who: Unpack[Who]) -> Answered:
        """Give an accepted lead the time of one more step; as often as the policy allows."""
        by = By(**who)
        answering = self._answering()
        with transaction(self._engine) as conn:
            if done := _extended_before(conn, offer, by):
                return done
            held, rules = _accepted(conn, offer, by, answering)
            why = reason_of(reason, rules.extend_reasons, by.actor)
            until, _ = _postpone(conn, held, rules, by, extensions=1)
            under = {"key": _digest(by)} if by.key else {}
            _keep(conn, held, by, EXTENDED, reason=why, work_by=until.isoformat(), **under)
            return _unended(held)

    def progress(self, offer: UUID, **who: Unpack[Who]) -> Answered:
        """A step was made on an accepted lead: the time for the next one begins anew."""
        by = By(**who)
        answering = self._answering()
        with transaction(self._engine) as conn:
            held, rules = _accepted(conn, offer, by, answering)
            _postpone(conn, held, rules, by, extensions=0)
            _keep(conn, held, by, PROGRESS)
            return _unended(held)

    def allowance(self, member: int) -> Sequence[Allowance]:
        """What is left of the member's limits, by pool of its market."""
        answering = self._answering()
        with transaction(self._engine) as conn:
            pools = conn.execute(_POOLS, {"member": member}).scalars()
            return [_allowance(conn, member, pool, answering[pool]) for pool in pools if pool in answering]

    def _answer(self, offer: UUID, asked: OfferState, reason: str | None, by: By, *, then: Then = "route") -> Answered:
        answering = self._answering()
        with transaction(self._engine) as conn:
            held, pool = _look(conn, offer, by.member)
            if held.state is OfferState.OFFERED and held.expires_at <= held.now:
                _lock(conn, held.lead_id)  # who answered in time may not have ended yet: what it says is the truth
                held, pool = _look(conn, offer, by.member)
            rules = answering.get(pool, NO_POOL)
            why = _reason(asked, reason, rules, by)
            if done := judge(held, asked, why, by.member):
                return done
            _in_time(held, asked, rules, by)
            lead = _lock(conn, held.lead_id)
            if asked is OfferState.ACCEPTED:
                return _accept(conn, held, rules, by, lead)
            ended = _end(conn, held, asked, why, by)
            if ended is None:
                return _lost_the_race(conn, held, asked, why, by)
            conclude(conn, [ended], asked, why or "", by)
            owe_correction(conn, [ended.offer], turn_effect(asked, why, rules), why or "")
            answered = Answered(offer, held.lead_id, held.member_id, asked, ended.at, lane=lead, frees=True)
            if asked in {OfferState.COMPLETED, OfferState.LOST}:
                _done(conn, held.lead_id)
                return answered
            return _onward(conn, answered, (pool, answering), by, then=then)


# --- looking


def _look(conn: sa.Connection, offer: UUID, member: int | None) -> tuple[Held, str]:
    """The offer as it is, and its lead's pool, without a lock: who comes late need not queue."""
    row = conn.execute(_LOOK, {"id": offer}).one_or_none()
    if row is None or row.state == OfferState.VOID or member not in {None, row.member_id}:
        raise UnknownOffer
    *values, pool = row
    held = Held(*values)
    return replace(held, state=OfferState(held.state)), pool or ""


def _reason(asked: OfferState, reason: str | None, rules: Answering, by: By) -> str | None:
    known = {
        OfferState.REJECTED: rules.reject_reasons,
        OfferState.LOST: rules.lost_reasons,
        OfferState.RETURNED: rules.return_reasons,
        OfferState.WITHDRAWN: (),
    }.get(asked)
    return None if known is None else reason_of(reason, known, by.actor)


def _in_time(held: Held, asked: OfferState, rules: Answering, by: By) -> None:
    if asked is not OfferState.RETURNED or by.actor not in ITS_OWN or held.accepted_at is None:
        return
    until = held.accepted_at + rules.return_within
    if held.now >= until:
        raise ReturnWindowClosed(
            f"The lead could be returned until {until:%Y-%m-%d %H:%M:%S} UTC.", ended_at=until.isoformat()
        )


def _lock(conn: sa.Connection, lead: int) -> Lane:
    return Lane(conn.execute(_LOCK_LEAD, {"id": lead}).scalar_one())


def _lost_the_race(conn: sa.Connection, held: Held, asked: OfferState, reason: str | None, by: By) -> Answered:
    """What somebody else made of the offer since we looked."""
    now, _ = _look(conn, held.id, by.member)
    if done := judge(now, asked, reason, by.member):
        return done
    raise OfferChanged(version=now.version)


# --- accepting and ending


def _accept(conn: sa.Connection, held: Held, rules: Answering, by: By, lane: Lane) -> Answered:
    at = conn.execute(_NOW).scalar_one()
    work_by, warn_at = work_times(at, rules)
    values = {"id": held.id, "at": at, "work_by": work_by, "warn_at": warn_at, "actor": by.actor}
    values |= {"person": by.person, "version": by.version}
    row = conn.execute(_ACCEPT, values).one_or_none()
    if row is None:
        return _lost_the_race(conn, held, OfferState.ACCEPTED, None, by)
    accepted(conn, [(held.id, held.lead_id, held.member_id)], by, others=row.others)
    return Answered(held.id, held.lead_id, held.member_id, OfferState.ACCEPTED, at, lane=lane, frees=row.others)


def _end(conn: sa.Connection, held: Held, state: OfferState, reason: str | None, by: By) -> Ended | None:
    """End this one offer if its state, its deadline and its version still allow it."""
    values = {"id": held.id, "state": state, "reason": reason, "actor": by.actor, "person": by.person}
    values |= {"from": [old for old, news in LEGAL.items() if state in news], "version": by.version}
    row = conn.execute(_END, values).one_or_none()
    return None if row is None else Ended(held.id, held.lead_id, held.member_id, row.ended_at)


def _done(conn: sa.Connection, lead: int) -> None:
    conn.execute(_DONE, {"id": lead})
    tell_salesforce(conn, [lead])


def _onward(
    conn: sa.Connection, answered: Answered, rules: tuple[str, Mapping[str, Answering]], by: By, *, then: Then
) -> Answered:
    """Where the lead goes after an offer that came to nothing; the limits are counted with it, its member locked."""
    pool, answering = rules
    lead, stays = answered.lead_id, None
    if answered.state is OfferState.WITHDRAWN and then == "hold":
        conn.execute(_NEXT_ATTEMPT, {"id": lead})
        withdraw(conn, [lead], Reason.RESCINDED, by.task_id)
        tell_salesforce(conn, [lead])
        return answered
    if by.actor in ITS_OWN and pool in answering:
        left = _allowance(conn, answered.member_id, pool, answering[pool])
        if answered.state is OfferState.REJECTED:
            _within_the_day(left)
        elif left.returned_this_month > left.returns_this_month:
            stays = Reason.RETURNED
    counts = answered.state is not OfferState.WITHDRAWN
    onward = go_on(conn, [lead], answering, by.task_id, counts=counts, stays=stays)
    return replace(answered, route=lead in onward.again, lane=onward.again.get(lead, answered.lane))


def _within_the_day(left: Allowance) -> None:
    if left.rejects_a_day is not None and left.rejected_today > left.rejects_a_day:
        raise RejectLimitReached(
            f"You have rejected {left.rejects_a_day} offers today, as many as your programme allows; "
            "ask its manager to take this one back.",
            rejects_a_day=left.rejects_a_day,
            until=left.day_ends.isoformat(),
        )


def _allowance(conn: sa.Connection, member: int, pool: str, rules: Answering) -> Allowance:
    zone, now = conn.execute(_CLOCK, {"member": member}).one()
    calendar = zone_of(zone, rules)
    (day, day_ends), (month, month_ends) = day_of(now, calendar), month_of(now, calendar)
    row = conn.execute(_COUNTS, {"member": member, "day": day, "month": month, "own": list(ITS_OWN)}).one()
    return Allowance(
        pool,
        rules.rejects_a_day,
        row.rejected,
        day_ends,
        row.accepted,
        row.returned,
        returns_allowed(row.accepted, rules.returns_percent),
        month_ends,
    )


# --- what does not end an offer


def _accepted(conn: sa.Connection, offer: UUID, by: By, answering: Mapping[str, Answering]) -> tuple[Held, Answering]:
    """An accepted offer under its lead's lock; refused when it is in another state or of another version."""
    held, pool = _look(conn, offer, by.member)
    _lock(conn, held.lead_id)
    held, pool = _look(conn, offer, by.member)
    if held.state is not OfferState.ACCEPTED:
        judge(held, OfferState.COMPLETED, None, by.member)  # the same refusals as of any work on it
        raise OfferChanged(state=str(held.state))
    if by.version not in {None, held.version}:
        raise OfferChanged(version=held.version)
    return held, answering.get(pool, NO_POOL)


def _postpone(
    conn: sa.Connection, held: Held, rules: Answering, by: By, *, extensions: int
) -> tuple[datetime, datetime | None]:
    """Move the time for the next step; as an extension only as often as may be."""
    until, warn_at = work_times(held.now, rules)
    if extensions and until is None:
        raise ExtensionRefused("This lead has no time limit that could be extended.")
    values: dict[str, object] = {"id": held.id, "work_by": until, "warn_at": warn_at, "more": extensions}
    values |= {"most": rules.extensions, "actor": by.actor, "person": by.person, "at": held.now}
    if conn.execute(_POSTPONE, values).one_or_none() is None:
        raise ExtensionRefused(extensions=rules.extensions)
    return until or held.now, warn_at


def _keep(conn: sa.Connection, held: Held, by: By, told: tuple[str, Notice], **detail: object) -> None:
    what, notice = told
    person = {"person": str(by.person)} if by.person else {}
    entry = {"offer": str(held.id), "member": held.member_id, **detail, **person}
    note(conn, [(held.lead_id, what, entry)], by.task_id, actor=by.actor)
    tell_members(conn, [(held.member_id, held.id, held.lead_id, notice)])


def _extended_before(conn: sa.Connection, offer: UUID, by: By) -> Answered | None:
    """What came of the same request before, whose answer was lost with the process that gave it."""
    if not by.key:
        return None
    held, _ = _look(conn, offer, by.member)
    before = conn.scalar(_EXTENDED_UNDER, {"lead": held.lead_id, "offer": str(offer), "key": _digest(by)})
    return replace(_unended(held), repeated=True) if before else None


def _digest(by: By) -> str:
    return sha256(by.key.encode()).hexdigest()[:32]


def _unended(held: Held) -> Answered:
    return Answered(held.id, held.lead_id, held.member_id, OfferState.ACCEPTED, held.now)


_LOOK = sa.text("""
    SELECT o.id, o.lead_id, o.member_id, o.state, o.reason, o.version, o.expires_at, o.accepted_at, o.ended_at,
           clock_timestamp() AS now, l.pool
    FROM offers o JOIN leads l ON l.id = o.lead_id WHERE o.id = :id
""")
_LOCK_LEAD = sa.text("SELECT lane FROM leads WHERE id = :id FOR UPDATE")
_NOW = sa.text("SELECT clock_timestamp()")
_EXTENDED_UNDER = sa.text("""
    SELECT EXISTS (SELECT FROM timeline WHERE lead_id = :lead AND what = :what
                   AND detail ->> 'offer' = :offer AND detail ->> 'key' = :key)
""").bindparams(what=EXTENDED[0])
_ACCEPT = sa.text("""
    UPDATE offers SET state = 'accepted', accepted_at = :at, worked_at = :at, version = version + 1, actor = :actor,
           person_id = coalesce(:person, person_id), assignee_id = coalesce(assignee_id, :person),
           work_by = :work_by, remind_at = :warn_at, reminded = 0
    WHERE id = :id AND state = 'offered' AND expires_at > clock_timestamp()
      AND (CAST(:version AS bigint) IS NULL OR version = :version)
    RETURNING EXISTS (SELECT FROM offers other WHERE other.lead_id = offers.lead_id AND other.id <> offers.id
                      AND other.state IN ('offered', 'accepted')) AS others
""").bindparams(sa.bindparam("person", type_=sa.Uuid), sa.bindparam("version", type_=sa.BigInteger))
_END = sa.text("""
    UPDATE offers SET state = :state, reason = :reason, ended_at = clock_timestamp(), version = version + 1,
           actor = :actor, person_id = coalesce(:person, person_id), remind_at = NULL
    WHERE id = :id AND state = ANY(CAST(:from AS text[]))
      AND (state <> 'offered' OR :state = 'withdrawn' OR expires_at > clock_timestamp())
      AND (CAST(:version AS bigint) IS NULL OR version = :version)
    RETURNING ended_at
""").bindparams(sa.bindparam("person", type_=sa.Uuid), sa.bindparam("version", type_=sa.BigInteger))
_NEXT_ATTEMPT = sa.text("UPDATE leads SET attempt = attempt + 1 WHERE id = :id")
_DONE = sa.text("""
    UPDATE leads SET state = 'done', reason = NULL, version = version + 1, updated_at = clock_timestamp(),
           next_try_at = NULL
    WHERE id = :id
""")
_POSTPONE = sa.text("""
    UPDATE offers SET work_by = :work_by, remind_at = :warn_at, reminded = 0, version = version + 1, actor = :actor,
           person_id = coalesce(:person, person_id), extensions = extensions + :more,
           worked_at = CASE WHEN :more = 0 THEN CAST(:at AS timestamptz) ELSE worked_at END
    WHERE id = :id AND state = 'accepted' AND extensions + :more <= greatest(:most, extensions)
    RETURNING id
""").bindparams(sa.bindparam("person", type_=sa.Uuid))
_POOLS = sa.text("SELECT p.name FROM pools p JOIN members m ON m.market = p.market WHERE m.id = :member ORDER BY 1")
_CLOCK = sa.text("SELECT attributes ->> 'timezone' AS zone, clock_timestamp() AS now FROM members WHERE id = :member")
_COUNTS = sa.text("""
    SELECT count(*) FILTER (WHERE state = 'rejected' AND ended_at >= :day AND actor = ANY(CAST(:own AS text[])))
               AS rejected,
           count(*) FILTER (WHERE accepted_at >= :month) AS accepted,
           count(*) FILTER (WHERE state = 'returned' AND ended_at >= :month AND actor = ANY(CAST(:own AS text[])))
               AS returned
    FROM offers WHERE member_id = :member AND coalesce(ended_at, accepted_at) >= :month
""")

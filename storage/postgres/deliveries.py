"""What is to be delivered to whom: made out from notices, leased, brought outside of any transaction, written down."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa

from routing.courier import TOGETHER, About, Brought, Outcome, Parcel, Person
from routing.delivery import (
    CALLS,
    FAILING,
    NEWS,
    ORDER,
    Channel,
    Manners,
    Post,
    Quiet,
    Reach,
    Said,
    State,
    next_wait_s,
    rest_s,
    to_endpoints,
    to_person,
)
from routing.lane import Lane
from routing.offer import Notice, OfferState
from storage.postgres.delivery_statements import (
    CLAIM,
    DISABLE,
    DUE,
    END,
    ENDPOINT_FAILED,
    ENDPOINT_WELL,
    ENDPOINTS,
    FORGET_DEVICE,
    LETTER,
    LOCK,
    MAKE_OUT,
    NEXT_STEP,
    OPENED,
    REACHES,
    RETRY,
    TAKE_NOTICES,
)
from storage.postgres.endpoints import Seals
from storage.postgres.engine import transaction
from storage.postgres.timeline import Happening, add_many

#: A call ends long before this.
LEASE_S = 45.0
#: In flight to one endpoint, device or person, of all processes together.
EACH = 2
#: The step on the timeline that says what came of a delivery.
TOLD = "told"
LETTER_PURPOSE = "letter"


@dataclass(frozen=True, slots=True)
class _Taken:
    """A notice to be made out."""

    member_id: int
    number: int
    what: Notice
    offer_id: UUID
    lead_id: int
    at: datetime
    expires_at: datetime | None
    work_by: datetime | None
    open_until: datetime | None
    assignee_id: UUID | None
    lane: int
    now: datetime

    @property
    def said(self) -> Said:
        ends = {Notice.WARNING: self.work_by, Notice.OPENED: self.open_until}.get(self.what, self.expires_at)
        return Said(self.what, self.at, ends, hot=self.lane == Lane.HOT)


class Deliveries:
    """The rows of deliveries. Each method is one transaction; the calls are made between claiming and finishing."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Seals,
        *,
        manners: Manners | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._manners = manners or Manners()
        self._dice = dice

    def due(self) -> bool:
        """Whether there is anything to make out or to bring."""
        with transaction(self._engine) as conn:
            return bool(conn.scalar(DUE))

    def fan(self, limit: int = TOGETHER) -> int:
        """Make out deliveries of notices that have none yet, oldest first; returns how many notices."""
        with transaction(self._engine) as conn:
            rows = conn.execute(TAKE_NOTICES, {"limit": limit}).mappings()
            taken = [_Taken(**{**row, "what": Notice(row["what"])}) for row in rows]
            if taken:
                self._make_out(conn, taken)
            return len(taken)

    def claim(self, limit: int, messages: int) -> list[Parcel]:
        """Lease what is due, oldest first: at most two under way to each target, and so many messages.

        What was leased and not finished in time is given out again: its process died.
        """
        values = {
            "token": uuid4(),
            "lease": LEASE_S,
            "each": EACH,
            "limit": limit,
            "messages": messages,
            "look": 4 * limit + 50,
        }
        with transaction(self._engine) as conn:
            conn.execute(LOCK)
            return [_parcel(row) for row in conn.execute(CLAIM, values).mappings()]

    def finish(self, results: Sequence[tuple[Parcel, Brought]]) -> list[tuple[Channel, str]]:
        """Write down what came of each try; returns channel and state of those that ended.

        A delivery whose lease went to somebody else is left to that one.
        """
        judged = [(parcel, *self._judge(parcel, brought)) for parcel, brought in results]
        with transaction(self._engine) as conn:
            self._note_endpoints(conn, results)
            for parcel, brought in results:
                if parcel.channel is Channel.PUSH and brought.outcome is Outcome.GONE:
                    conn.execute(FORGET_DEVICE, {"id": parcel.target})
            again = [(parcel, wait, why) for parcel, state, why, wait in judged if state is State.PENDING]
            self._retry(conn, again)
            ended = self._end(conn, [(p, state, why) for p, state, why, _ in judged if state is not State.PENDING])
            return [(parcel.channel, str(state)) for parcel, state, _ in ended]

    def opened(self, offer: UUID, *, member: int, person: UUID) -> None:
        """The person has seen the offer: the channels left are not needed."""
        with transaction(self._engine) as conn:
            conn.execute(OPENED, {"offer": offer, "member": member, "person": person})

    def post_letter(self, person: UUID, kind: str, facts: Mapping[str, str], *, lives_s: float) -> None:
        """Have a letter of the house brought to this person's mail address; what it says is kept sealed."""
        sealed = self._vault.seal(LETTER_PURPOSE, orjson.dumps(dict(facts)), about=f"{person}:{kind}")
        with transaction(self._engine) as conn:
            conn.execute(LETTER, {"person": person, "what": kind, "sealed": sealed, "lives": lives_s})

    def _make_out(self, conn: sa.Connection, taken: Sequence[_Taken]) -> None:
        members = sorted({one.member_id for one in taken})
        endpoints = _by_member((row[0], row[1]) for row in conn.execute(ENDPOINTS, {"members": members}))
        wanted = sorted({one.member_id for one in taken if one.what in CALLS | NEWS})
        rows = conn.execute(REACHES, {"members": wanted}) if wanted else ()
        reaches = _by_member((row.member_id, _reach(row)) for row in rows)
        posts: list[tuple[_Taken, Post]] = []
        for one in taken:
            posts += [(one, post) for post in to_endpoints(one.said, endpoints.get(one.member_id, ()), one.now)]
            for reach in reaches.get(one.member_id, ()):
                if one.assignee_id in {None, reach.person}:
                    posts += [(one, post) for post in to_person(one.said, reach, self._manners, one.now)]
        if posts:
            conn.execute(MAKE_OUT, _columns(posts))
        skipped = [(one, post) for one, post in posts if post.state is State.SKIPPED]
        add_many(conn, [_never_sent(one, post) for one, post in skipped])

    def _judge(self, parcel: Parcel, brought: Brought) -> tuple[State, str, float]:
        """The state that follows, why, and the wait before the next try."""
        ends = {
            Outcome.SENT: State.SENT,
            Outcome.FAILED: State.FAILED,
            Outcome.GONE: State.FAILED,
            Outcome.EXPIRED: State.EXPIRED,
            Outcome.SKIPPED: State.SKIPPED,
        }
        if brought.outcome is not Outcome.RETRY:
            return ends[brought.outcome], brought.why, 0.0
        wait = next_wait_s(parcel.channel, parcel.attempts)
        if wait is None:
            return State.FAILED, brought.why, 0.0
        wait *= 1 + self._dice() / 10
        late = parcel.now + timedelta(seconds=wait) >= parcel.until
        return (State.EXPIRED if late else State.PENDING), brought.why, wait

    def _note_endpoints(self, conn: sa.Connection, results: Sequence[tuple[Parcel, Brought]]) -> None:
        """What the tries say about the endpoints themselves, in the order of their ids."""
        tried = [(p, b) for p, b in results if p.channel is Channel.WEBHOOK and p.url]
        for parcel, brought in sorted(tried, key=lambda one: one[0].target):
            match brought.outcome:
                case Outcome.SENT:
                    conn.execute(ENDPOINT_WELL, {"id": parcel.target})
                case Outcome.RETRY | Outcome.FAILED:
                    failures = conn.execute(ENDPOINT_FAILED, {"id": parcel.target}).scalar() or 1
                    rest = {"id": parcel.target, "rest": rest_s(failures), "failing": FAILING.total_seconds()}
                    conn.execute(DISABLE["failing"], rest)
                case Outcome.GONE:
                    conn.execute(DISABLE["gone"], {"id": parcel.target, "why": brought.why})
                case _:
                    pass

    def _retry(self, conn: sa.Connection, again: Sequence[tuple[Parcel, float, str]]) -> None:
        if again:
            values = {
                "ids": [parcel.id for parcel, *_ in again],
                "tokens": [parcel.token for parcel, *_ in again],
                "waits": [wait for _, wait, _ in again],
                "whys": [why for *_, why in again],
            }
            conn.execute(RETRY, values)

    def _end(self, conn: sa.Connection, ended: Sequence[tuple[Parcel, State, str]]) -> list[tuple[Parcel, State, str]]:
        if not ended:
            return []
        values = {
            "ids": [parcel.id for parcel, *_ in ended],
            "tokens": [parcel.token for parcel, *_ in ended],
            "states": [str(state) for _, state, _ in ended],
            "whys": [why or None for *_, why in ended],
        }
        ours = set(conn.execute(END, values).scalars())
        mine = [one for one in ended if one[0].id in ours]
        at_once = [p.id for p, state, _ in mine if state is State.FAILED and p.attempts == 1 and p.person]
        if at_once:
            conn.execute(NEXT_STEP, {"ids": at_once})
        add_many(conn, [_ended(*one) for one in mine if one[0].lead_id is not None])
        return mine


def _by_member(pairs: Iterable[tuple[int, Any]]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for member, one in pairs:
        found.setdefault(member, []).append(one)
    return found


def _reach(row: sa.Row[tuple[Any, ...]]) -> Reach:
    quiet = Quiet(row.quiet_from, row.quiet_to, row.time_zone) if row.quiet_from is not None else None
    order = ORDER if row.channels is None else tuple(Channel(name) for name in row.channels)
    return Reach(row.id, tuple(row.devices), bool(row.phone), bool(row.email), order, quiet)


def _columns(posts: Sequence[tuple[_Taken, Post]]) -> dict[str, list[Any]]:
    return {
        "members": [one.member_id for one, _ in posts],
        "numbers": [one.number for one, _ in posts],
        "whats": [str(one.what) for one, _ in posts],
        "offers": [one.offer_id for one, _ in posts],
        "leads": [one.lead_id for one, _ in posts],
        "channels": [str(post.channel) for _, post in posts],
        "targets": [post.target for _, post in posts],
        "people": [post.person for _, post in posts],
        "steps": [post.step for _, post in posts],
        "dues": [post.due_at for _, post in posts],
        "untils": [post.until for _, post in posts],
        "states": [str(post.state) for _, post in posts],
        "whys": [post.why for _, post in posts],
    }


def _parcel(row: sa.RowMapping) -> Parcel:
    return Parcel(
        id=row["id"],
        token=row["token"],
        channel=Channel(row["channel"]),
        what=row["what"],
        target=row["target"],
        step=row["step"],
        attempts=row["attempts"],
        until=row["until"],
        at=row["at"],
        now=row["now"],
        member_id=row["member_id"],
        number=row["number"],
        offer_id=row["offer_id"],
        lead_id=row["lead_id"],
        opened=row["opened"],
        about=_about(row) if row["offer_state"] else None,
        person=_person(row) if row["active"] is not None else None,
        url=row["url"],
        sealed=tuple(bytes(one) for one in row["sealed"] if one is not None),
    )


def _about(row: sa.RowMapping) -> About:
    return About(
        state=OfferState(row["offer_state"]),
        version=row["version"],
        expires_at=row["expires_at"],
        work_by=row["work_by"],
        stepped=row["stepped"],
        distance_m=row["distance_m"],
        pool=row["pool"] or "",
        country=row["country"],
        region=row["region"],
        postal_code=row["postal_code"],
        city=row["city"],
        product=row["product"] or "",
    )


def _person(row: sa.RowMapping) -> Person:
    return Person(
        id=row["person_id"],
        active=row["active"],
        email=row["email"],
        phone=row["phone"],
        language=row["language"],
        units=row["units"],
        zone=row["time_zone"],
    )


def _ended(parcel: Parcel, state: State, why: str) -> Happening:
    detail = {
        "delivery": parcel.id,
        "notice": parcel.what,
        "channel": str(parcel.channel),
        "state": str(state),
        "member": parcel.member_id,
        "offer": str(parcel.offer_id),
        "attempts": parcel.attempts,
    }
    return Happening(parcel.lead_id or 0, TOLD, detail={**detail, "why": why} if why else detail)


def _never_sent(one: _Taken, post: Post) -> Happening:
    detail = {
        "notice": str(one.what),
        "channel": str(post.channel),
        "state": str(post.state),
        "member": one.member_id,
        "offer": str(one.offer_id),
        "why": post.why,
    }
    return Happening(one.lead_id, TOLD, detail=detail)

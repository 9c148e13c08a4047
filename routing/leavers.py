"""Members who left: inactive in Salesforce, they get nothing more, and what they were asked goes to others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from routing.answering import Desk
from routing.errors import Refused
from routing.journey import always
from routing.offer import Actor

#: Rows of open transactions appear late: so far before the last one seen the next look begins.
OVERLAP = timedelta(minutes=2)
#: Of the org's daily API calls, the share that looking may use: with few calls it looks less often.
SHARE = 0.05
#: Members asked for by their ids in one call, and offers taken back in one round.
TOGETHER, ROUND = 200, 50
#: Why an offer of somebody who left ended.
LEFT = "member_left"
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record that stands for members, and its field that says whether it is in use."""

    record: str  # its object
    prefix: str  # of its ids
    active: str


@dataclass(frozen=True, slots=True)
class Active:
    """Whether one record is in use, as of when."""

    record_id: str
    active: bool
    changed_at: datetime


class LeaverBook(Protocol):
    """What is asked of the ledger; each method is one transaction and safe to repeat."""

    def clock(self) -> datetime: ...
    def kinds(self) -> set[str]: ...
    def seen_to(self, record: str) -> tuple[datetime, datetime] | None: ...
    def unasked(self, prefix: str, limit: int = TOGETHER) -> Sequence[str]: ...
    def told(self, found: Sequence[Active], *, asked: Sequence[str] = ()) -> tuple[list[int], list[int]]: ...
    def looked(self, record: str, seen_to: datetime) -> object: ...
    def pending(self, limit: int = ROUND) -> Sequence[UUID]: ...


class People(Protocol):
    """What is asked of Salesforce."""

    def active(self, kind: Kind, ids: Sequence[str]) -> list[Active]: ...
    def active_since(self, kind: Kind, at: datetime) -> Iterable[list[Active]]: ...


@dataclass(frozen=True, slots=True)
class Leavers:
    """Looks who left and who came back; looking twice changes nothing more."""

    book: LeaverBook
    org: Callable[[], People]
    desk: Desk
    kinds: Sequence[Kind]
    fill: Callable[[Sequence[int]], object]  # members who have room again
    calls_a_day: Callable[[], int | None] = lambda: None
    every_s: float = 30.0
    may_go_on: Callable[[], bool] = always

    def look(self) -> dict[str, int]:
        """Ask Salesforce who changed, and take back what those who left were asked."""
        counts = {"left": 0, "returned": 0}
        linked = self.book.kinds()
        watched = [kind for kind in self.kinds if kind.prefix in linked]
        for kind in watched:
            for found, asked in self._asked(kind, len(watched)):
                left, returned = self.book.told(found, asked=asked)
                counts["left"] += len(left)
                counts["returned"] += len(returned)
                if returned:
                    self.fill(returned)
        return counts | {"taken_back": self._take_back()}

    def _asked(self, kind: Kind, kinds: int) -> Iterable[tuple[list[Active], Sequence[str]]]:
        """Members nobody has asked for yet, by their ids; then whoever changed since the last look."""
        while self.may_go_on() and (ids := self.book.unasked(kind.prefix)):
            yield self.org().active(kind, ids), ids
        now, last = self.book.clock(), self.book.seen_to(kind.record)
        if last is not None and (now - last[1]).total_seconds() < self._every(kinds):
            return
        seen_to = last[0] if last else now - OVERLAP
        for page in self.org().active_since(kind, seen_to - OVERLAP):
            seen_to = max([seen_to, *(one.changed_at for one in page)])
            yield page, ()
        self.book.looked(kind.record, seen_to)

    def _every(self, kinds: int) -> float:
        """Seconds between two looks, a little less, so that one comes out with each nudge."""
        calls = self.calls_a_day()
        return 0.9 * max(self.every_s, _DAY_S * kinds / (SHARE * calls) if calls else 0.0)

    def _take_back(self) -> int:
        """Offers nobody can answer any more go on; those accepted stay, for a person to move."""
        taken = 0
        before: Sequence[UUID] = ()
        while self.may_go_on() and (offers := self.book.pending()) and offers != before:
            for offer in offers:
                try:
                    taken += not self.desk.rescind(offer, LEFT, then="route", actor=Actor.SALESFORCE).repeated
                except Refused:
                    continue  # it was answered, or has expired, just now
            before = offers
        return taken


def activity(kinds: Mapping[str, str]) -> tuple[Kind, ...]:
    """The kinds of a mapping's section `members`."""
    known = {"user": ("User", "005"), "account": ("Account", "001")}
    return tuple(Kind(*known[name], active) for name, active in kinds.items())

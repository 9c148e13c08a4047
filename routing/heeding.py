"""Answers that people gave in Salesforce, by editing a lead: given at the desk like every other answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from routing.answering import LONGEST_REASON, Desk, Who
from routing.errors import GiveUp, Refused
from routing.journey import always
from routing.offer import Actor, Answered

#: Answers given in one round.
ROUND = 50


@dataclass(frozen=True, slots=True)
class Edit:
    """One answer; `shown`: given in a field of ours, which shows it until we say otherwise."""

    id: int
    lead_id: int
    offer_id: UUID
    asked: str
    reason: str | None
    shown: bool


class EditBook(Protocol):
    """What is asked of the ledger; each method is one transaction and safe to repeat."""

    def pending(self, limit: int = ROUND) -> Sequence[Edit]: ...
    def done(self, edit: Edit) -> object: ...
    def refuse(self, edit: Edit, why: str, *, task_id: str = "") -> object: ...


@dataclass(frozen=True, slots=True)
class Heeder:
    """Gives the answers; what the rules refuse is shown in Salesforce again as it is here."""

    edits: EditBook
    desk: Desk
    nudge: Callable[[str], object]
    may_go_on: Callable[[], bool] = always

    def heed(self, *, task_id: str = "") -> dict[str, int]:
        """Give every answer that waits, in the order they came."""
        counts = {"heeded": 0, "refused": 0}
        while self.may_go_on() and (edits := self.edits.pending()):
            for edit in edits:
                counts[self._one(edit, task_id)] += 1
        return counts

    def _one(self, edit: Edit, task_id: str) -> str:
        try:
            self._answer(edit, task_id)
        except (Refused, GiveUp) as exc:
            self.edits.refuse(edit, type(exc).__name__, task_id=task_id)
            self.nudge("outbox.deliver")
            return "refused"
        self.edits.done(edit)
        return "heeded"

    def _answer(self, edit: Edit, task_id: str) -> Answered:
        who: Who = {"actor": Actor.SALESFORCE, "task_id": task_id}
        desk, offer, reason = self.desk, edit.offer_id, _word(edit.reason)
        answers: Mapping[str, Callable[[], Answered]] = {
            "accepted": lambda: desk.accept(offer, **who),
            "rejected": lambda: desk.reject(offer, reason, **who),
            "completed": lambda: desk.complete(offer, **who),
            "lost": lambda: desk.lose(offer, reason, **who),
            "returned": lambda: desk.give_back(offer, reason, **who),
        }
        return answers[edit.asked]()


def _word(reason: str | None) -> str | None:
    """The reason where it can be one: people write sentences into a text field."""
    word = (reason or "").strip().casefold().replace(" ", "_")
    return word if 0 < len(word) <= LONGEST_REASON and word.replace("_", "a").isalnum() else None

"""One lead tried out (row W1): the real dispatcher over copies of what is there now; nothing is written anywhere."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from routing.batch import Known
from routing.dispatcher import Dispatcher
from routing.explained import explanation
from routing.lead import Lead, LeadState
from routing.member import Roster
from routing.plan import Verdict
from routing.policy import Policy
from routing.ports import Snapshot
from routing.reexecute import past_of
from routing.ruling import Aside, Gift
from routing.simulation.ledger import GENERATION, MemoryLedger
from routing.simulation.past import us
from routing.simulation.rows import LeadRow, without_room
from routing.simulation.turnstile import MemoryTurnstile


@dataclass(frozen=True, slots=True)
class Present:
    """How everything stands at one instant, as far as one lead needs it."""

    now: datetime
    lead: Lead  # with its attempt, and who was offered it
    known: Known  # what rules may ask of it
    policy: Policy
    rosters: Sequence[Roster]
    turnstiles: Mapping[str, Snapshot]
    open: Mapping[int, int] = field(default_factory=dict)  # units each member holds, by the ledger
    accepting: Collection[int] = frozenset()  # members for whom an offer is accepted at once
    state: LeadState = LeadState.NEW
    note: str = ""  # how it stands now, where this is what would come next


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What live would do with the lead at this instant; of several who are asked at once, the first is first."""

    outcome: str  # offered, waiting, review, given, withdrawn
    reason: str
    member: int | None
    rule: str
    target: str  # the basket, or the rule's own word
    note: str
    verdicts: tuple[Verdict, ...] = ()
    explanations: tuple[Mapping[str, Any], ...] = ()

    def to_json(self, names: Mapping[int, str]) -> dict[str, Any]:
        """In plain values; `names`: the keys of members."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "member": None if self.member is None else names.get(self.member, str(self.member)),
            "rule": self.rule,
            "target": self.target,
            "note": self.note,
            "written": False,
            "explanations": [_named(one, names) for one in self.explanations],
        }


def rehearse(present: Present) -> Rehearsed:
    """Decide the lead as the dispatcher would, and forget it."""
    ledger = _One(present)
    turnstile = MemoryTurnstile(lambda: us(present.now))
    for market, snapshot in present.turnstiles.items():
        turnstile.rebuild(market, replace(snapshot, generation=GENERATION))
    ids = iter(range(1, 1_000))
    dispatcher = Dispatcher(ledger=ledger, turnstile=turnstile, new_id=lambda: UUID(int=next(ids)))
    woken = present.state is LeadState.WAITING
    dispatcher.route([present.lead.id], woken=woken)
    return ledger.told()


class _One(MemoryLedger):
    """A ledger of one lead."""

    def __init__(self, present: Present) -> None:
        super().__init__(lambda: us(present.now), {})
        self.present = present
        self.policies[present.policy.version] = present.policy
        self.version = present.policy.version
        for roster in present.rosters:
            self.enrol(roster)
        self._open.update(present.open)
        self.leads[present.lead.id] = LeadRow(present.lead, attempt=present.lead.attempt, moves=present.lead.moves)
        self._refused = ""
        self._verdicts: list[Verdict] = []
        self._asides: list[Aside] = []
        self._gifts: list[Gift] = []

    def _lead(self, row: LeadRow) -> Lead:  # noqa: ARG002 - there is one
        return self.present.lead

    def known_of(self, ids: Sequence[int], policy: Policy) -> Known:  # noqa: ARG002 - there is one
        return self.present.known

    def write(self, verdict: Verdict) -> None:
        self._verdicts.append(verdict)

    def review(self, lead: int, reason: Any) -> None:  # noqa: ARG002 - there is one
        self._refused = str(reason)

    def set_aside(self, one: Aside) -> None:
        self._asides.append(one)

    def give_by_rule(self, id_: UUID, gift: Gift) -> None:  # noqa: ARG002 - it lives nowhere
        if gift.beyond or self.has_room(gift):
            self._gifts.append(gift)
        else:
            self.set_aside(without_room(gift))

    def told(self) -> Rehearsed:
        """What came of it."""
        note = self.present.note
        explained = tuple(explanation(past_of(one.decision, {})) for one in self._verdicts)
        if self._refused:
            return Rehearsed("review", self._refused, None, "", "", note)
        for aside in self._asides:
            return Rehearsed(str(aside.state), str(aside.reason), None, aside.rule, aside.target, note)
        for gift in self._gifts:
            outcome = "accepted" if gift.accept or gift.member.id in self.present.accepting else "offered"
            return Rehearsed(outcome, "given by a rule", gift.member.id, gift.ruling.course.rule, "", note)
        for verdict in self._verdicts:
            decision = verdict.decision
            chosen = decision.chosen is not None
            at_once = decision.chosen in self.present.accepting
            outcome = ("accepted" if at_once else "offered") if chosen else "waiting" if verdict.waits else "review"
            reason = decision.reason if chosen or verdict.reason is None else verdict.reason
            verdicts = tuple(self._verdicts)
            return Rehearsed(outcome, str(reason), decision.chosen, decision.rule, "", note, verdicts, explained)
        return Rehearsed("nothing", "the lead is not free to be decided", None, "", "", note)


def _named(told: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    named = {**told, "chosen": None if told["chosen"] is None else names.get(told["chosen"], str(told["chosen"]))}
    named["candidates"] = [
        {**one, "member": names.get(one["member"], str(one["member"]))} for one in told["candidates"]
    ]
    del named["decision"]  # there is none
    return named

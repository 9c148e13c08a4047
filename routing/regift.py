"""A lead that a rule gave to the member it names, given again: the rules asked once more of the facts that were kept.

No turn was taken and nobody was compared, so it has no row among the decisions; its step in the timeline has the facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from routing.course import Way
from routing.explained import canonical
from routing.policy import Policy
from routing.reexecute import Remade


@dataclass(frozen=True, slots=True)
class Given:
    """What is kept of it."""

    rule: str
    owner: str  # the member's key
    facts: Mapping[str, Any]  # that the rules could ask, and `now`
    without: frozenset[str] = frozenset()  # rules that were passed over for this lead


def given_again(given: Given, policy: Policy) -> Remade:
    """What the rules say now of the same facts, compared byte for byte."""
    facts = {name: _read(name, value) for name, value in given.facts.items()}
    now = facts.pop("now", None)
    book, stored = policy.rulebook, canonical({"owner": given.owner, "rule": given.rule})
    if book is None or not isinstance(now, datetime):
        return Remade(stored, b"", ("the policy has no rules",) if book is None else ("no clock was kept",))
    course = book.course(facts, now, without=given.without)
    if course is None or course.way is not Way.OWNER:
        went = "nowhere" if course is None else f"by rule {course.rule}: {course.way}"
        return Remade(stored, b"", (f"it would not be given to an owner, but go {went}",))
    again = canonical({"owner": course.target, "rule": course.rule})
    said = f"was given to {given.owner} by rule {given.rule}, would be to {course.target} by rule {course.rule}"
    return Remade(stored, again, () if stored == again else (said,))


def _read(name: str, value: Any) -> Any:
    """Times are written as text."""
    return datetime.fromisoformat(value) if name in {"now", "lead.received_at"} and isinstance(value, str) else value

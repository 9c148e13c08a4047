"""What a decision was made from, in plain values: enough to plan it again from its row, its policy and its roster."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from routing.course import Course
from routing.lane import Lane
from routing.lead import Lead, Point, Precision, Ruled

if TYPE_CHECKING:
    from routing.plan import Plan

#: The key of the lead itself among the inputs; all others are names of facts that rules looked at, and the clock.
LEAD = "lead"
#: What rules had made of the lead before.
RULED = "ruled"
#: What each rule said that holds, in the order of the rules.
SET_BY = "set_by"
#: Why members do not fit, by their ids.
WORDS = "gates"


def given(plan: "Plan") -> dict[str, object]:
    """The inputs of the plan's decision: the lead as it was, how it was searched, the facts that were looked at.

    What is usual is left out: no member tried, every ring searched as far as the first that has anybody.
    """
    lead = plan.lead
    known: dict[str, object] = {"country": lead.country}
    if lead.place is not None:
        known["place"] = (lead.place.lat, lead.place.lon)
    if lead.precision is not None:
        known["precision"] = lead.precision.value
    if lead.moves:
        known["moves"] = lead.moves
    if lead.tried:
        known["tried"] = sorted(lead.tried)
        known["lapsed"], known["chances"] = sorted(lead.lapsed), list(lead.chances)
    if plan.wide:
        known["wide"] = True
    if plan.slot:
        known["slot"], known["rung"] = plan.slot, plan.rung
    if plan.boosted:
        members = {one.member for one in plan.candidates} | {one.member for one in plan.tried}
        known["boosted"] = sorted(plan.boosted & members)
    looked_at: dict[str, object] = {LEAD: known}
    if plan.now is not None and (plan.pool.turns.looks_at_the_clock or plan.limits):
        looked_at["now"] = plan.now.isoformat()
    if plan.course is None:
        return looked_at
    known["received_at"], known["priority"] = lead.received_at.isoformat(), lead.priority
    return {**plan.course.used, **_ruled(plan), **set_by(plan.course), **looked_at}


def set_by(course: Course) -> dict[str, object]:
    """Which rules set what on the lead's way, as it is written down; nothing where none did."""
    return {SET_BY: [[rule, dict(said)] for rule, said in course.set_by]} if course.set_by else {}


def _ruled(plan: "Plan") -> dict[str, object]:
    """What was looked at besides by way of rules: facts, the clock, what a lead was released from, who did not fit."""
    ruling = plan.ruling
    if ruling is None:
        return {}
    ruled = ruling.ruled
    state = {
        "released": sorted(ruled.released),
        "passed": dict(ruled.passed),
        "searched": None if ruled.searched is None else (ruled.searched[0], ruled.searched[1].isoformat()),
        "dropped": list(ruled.dropped),
    }
    more: dict[str, object] = {"score": ruling.score, RULED: {name: one for name, one in state.items() if one}}
    if ruling.best_above is not None:
        more["best_above"] = ruling.best_above
    if plan.words:
        more[WORDS] = {str(member): word for member, word in sorted(plan.words.items())}
    return {**ruling.used, **more}


def lead_of(inputs: Mapping[str, Any], *, id: int, attempt: int, at: datetime) -> Lead:  # noqa: A002 - a lead's field
    """The lead as it was when it was decided; `at` stands in for when it came, where that was not looked at."""
    known = inputs[LEAD]
    received = known.get("received_at")
    return Lead(
        id=id,
        received_at=datetime.fromisoformat(received) if received else at.astimezone(UTC),
        country=known["country"],
        place=Point(*known["place"]) if "place" in known else None,
        precision=Precision(known["precision"]) if "precision" in known else None,
        priority=known.get("priority", 0),
        attempt=attempt,
        tried=frozenset(known.get("tried", ())),
        moves=known.get("moves", 0),
        lapsed=frozenset(known.get("lapsed", ())),
        chances=tuple(known.get("chances", ())),
        lane=Lane.HOT if inputs.get("lead.hot") else Lane.LIVE,
        facts={name: value for name, value in inputs.items() if name.startswith("lead.")},
        ruled=ruled_of(inputs.get(RULED, {})),
    )


def ruled_of(kept: Mapping[str, Any]) -> Ruled:
    """What rules had made of the lead before, read."""
    searched = kept.get("searched")
    return Ruled(
        released=frozenset(kept.get("released", ())),
        passed=dict(kept.get("passed", {})),
        searched=(searched[0], datetime.fromisoformat(searched[1])) if searched else None,
        dropped=tuple(kept.get("dropped", ())),
    )

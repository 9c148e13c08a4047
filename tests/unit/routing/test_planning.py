"""What rules make of a batch of leads, without any server."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config import policy as policy_file
from routing.batch import Known
from routing.lead import Lead, LeadState, Point, Reason, Ruled
from routing.member import Member, Roster
from routing.planning import Sorted, sort_out
from routing.policy import Policy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HERE = Point(40.0, -75.0)
ROSTER = Roster(
    "main",
    1,
    [Member(1, "near", "Near", "main", "", (HERE,)), Member(2, "off", "Off", "main", "", (HERE,), active=False)],
)


def policy(*rules: Mapping[str, Any], **more: Any) -> Policy:
    pool = {"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [5, 15, 30]}} | more.pop(
        "pool", {}
    )
    document = {
        "attributes": {"lead": {"score": "number"}, "member": {"a": "list", "b": "list", "c": "list"}},
        "pools": [pool],
        "default_tier": {"capacity": 5},
        "rules": list(rules),
        "default": {"pool": "installers"},
    }
    return policy_file.parse(document | more, 1)


def sorted_out(made: Policy, lead: Lead, *, now: datetime = NOW, **facts: Any) -> Sorted:
    known = Known(now, {lead.id: {f"lead.{name}": value for name, value in facts.items()}}, {lead.id: lead.ruled})
    return sort_out([lead], made, known, {"main": ROSTER})


def a_lead(number: int = 1, **more: Any) -> Lead:
    return Lead(number, NOW - timedelta(minutes=number), place=HERE, **more)


def test_a_rule_that_was_waited_for_is_passed_over_and_the_way_out_is_named() -> None:
    made = policy({"name": "enrich", "when": True, "then": {"wait": {"facts": ["lead.score"], "up_to": "10m"}}})
    [waits] = sorted_out(made, a_lead()).asides
    assert (waits.state, waits.reason) == (LeadState.WAITING, Reason.MISSING_FACTS)
    assert waits.next_try_at == NOW + timedelta(minutes=10)
    again = a_lead(ruled=waits.ruled)
    assert sorted_out(made, again, now=NOW + timedelta(minutes=9)).asides[0].next_try_at == waits.next_try_at
    for minutes, facts, exit_ in ((9, {"score": 1}, "facts"), (10, {}, "time")):
        [asked] = sorted_out(made, again, now=NOW + timedelta(minutes=minutes), **facts).asked
        assert asked.ruling is not None
        assert asked.ruling.ruled.passed == {"enrich": exit_}
        assert [detail["exit"] for what, detail in asked.ruling.steps if what == "waited for facts"] == [exit_]


def test_a_released_lead_skips_the_rule_that_kept_it_and_no_other() -> None:
    made = policy(
        {"name": "spam", "when": True, "then": {"quarantine": True}},
        {"name": "fair", "when": True, "then": {"hold": "spring"}},
    )
    assert sorted_out(made, a_lead()).asides[0].reason is Reason.QUARANTINED
    released = a_lead(ruled=Ruled(released=frozenset({"spam"})))
    [held] = sorted_out(made, released).asides
    assert (held.reason, held.target, held.rule) == (Reason.HELD, "spring", "fair")
    assert sorted_out(made, a_lead(ruled=Ruled(released=frozenset({"spam", "fair"})))).asked


def test_an_owner_who_is_away_or_had_the_lead_leaves_it_to_a_person() -> None:
    rule = {"name": "key", "when": True, "then": {"owner": {"fact": "lead.owner"}}}
    made = policy(rule)
    assert [gift.member.id for gift in sorted_out(made, a_lead(), owner="near").gifts] == [1]
    for owner, lead in (("off", a_lead()), ("nobody", a_lead()), ("near", a_lead(tried=frozenset({1})))):
        [aside] = sorted_out(made, lead, owner=owner).asides
        assert (aside.state, aside.reason) == (LeadState.REVIEW, Reason.RULED)


SKILLS = st.lists(st.tuples(st.booleans(), st.none() | st.integers(1, 60)), min_size=1, max_size=3)
STEPS = st.lists(st.integers(1, 60), max_size=4)


@given(SKILLS, STEPS, st.integers(0, 120))
def test_M6_a_required_skill_is_never_dropped_and_the_others_least_important_first(
    skills: list[tuple[bool, int | None]], steps: list[int], minutes: int
) -> None:
    wanted = [
        {"name": name, "wanted": "x", "required": required} | ({"drop_after": f"{after}m"} if after else {})
        for name, (required, after) in zip("abc", skills, strict=False)
    ]
    relax = [{"after": f"{after}m", "drop": "lowest"} for after in sorted(steps)]
    made = policy({"name": "skilled", "when": True, "then": {"skills": wanted}}, pool={"relax": relax})
    first = sorted_out(made, a_lead()).asked[0].ruling
    assert first is not None
    [asked] = sorted_out(made, a_lead(ruled=first.ruled), now=NOW + timedelta(minutes=minutes)).asked
    assert asked.ruling is not None
    left = {skill.name for skill in asked.ruling.skills}
    never = {skill["name"] for skill in wanted if skill["required"] and "drop_after" not in skill}
    assert never <= left
    dropped = [str(detail["dropped"]) for what, detail in asked.ruling.steps if what == "asked for less"]
    assert sorted(left | {*dropped}) == sorted(str(skill["name"]) for skill in wanted)
    by_pool = [skill["name"] for skill in wanted if not skill["required"] and "drop_after" not in skill]
    gone = [name for name in dropped if name in by_pool]
    assert gone == sorted(gone, reverse=True)
    again = replace(asked.lead, ruled=asked.ruling.ruled)
    twice = sorted_out(made, again, now=NOW + timedelta(minutes=minutes)).asked[0].ruling
    assert twice is not None
    assert twice.steps == ()  # a drop is told once


def test_a_policy_without_rules_asks_nothing_of_leads() -> None:
    plain = policy_file.parse(policy_file.default_document(), 1)
    assert not plain.asks_leads
    assert sort_out([a_lead()], plain, None, {}).asked[0].ruling is None

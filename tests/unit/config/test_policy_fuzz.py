"""Any document at all is read or refused as bad input, checked without a fault, and what is shown is so (M11, N10)."""

import copy
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import policy_text
from config.policy import default_document, dump, parse
from config.policy_checking import findings
from routing.check_people import People
from routing.errors import BadInput
from routing.lead import Point
from routing.look import Look
from routing.member import Member, Roster
from routing.policy import Policy
from tests.unit.routing.test_witness import CONDITIONS

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ROSTER = Roster(
    "main",
    1,
    [
        Member(
            at, f"m{at}", "M", "main", tier, (Point(40 + at, -74),), country="US", attributes={"languages": ["es"][:at]}
        )
        for at, tier in enumerate(["gold", "gold", "silver", "bronze"], 1)
    ],
)
PEOPLE = People({"main": ROSTER}, {1: 3, 2: 99})
WHOLE: dict[str, Any] = {
    "attributes": {
        "lead": {
            "score": "number",
            "product": "text",
            "languages": "list",
            "wanted_on": "date",
            "commercial": "flag",
            "rooms": "whole",
        },
        "member": {"languages": "list", "level": "number", "until": "date"},
    },
    "tables": {
        "territory": {
            "key": ["lead.country", "lead.postal_code[:3]"],
            "columns": {"pool": "text", "owner": "text"},
            "rows": [
                {"country": "US", "postal_code": "941", "pool": "north", "owner": "kim"},
                {"country": "UK", "postal_code": "100", "pool": "installers"},
            ],
        }
    },
    "areas": {
        "bay": {
            "geojson": {
                "type": "Polygon",
                "coordinates": [[[-123.0, 37.0], [-121.0, 37.0], [-121.0, 38.0], [-123.0, 38.0], [-123.0, 37.0]]],
            }
        }
    },
    "pools": [
        {"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [5.0, 15.0, 90.0]}},
        {
            "name": "north",
            "market": "main",
            "countries": ["CA", "US"],
            "rings": {"unit": "km", "radii": [10.0]},
            "poor_places": {"city": "wider_ring"},
            "reassignments": 7,
            "turns": {"reset": {"rolling": "30d"}, "ramp": [{"days": 9, "percent": 50}, {"days": 20, "percent": 25}]},
            "certificates": [{"name": "paper", "until": "member.until"}],
            "conditions": [{"name": "out", "unless": "member.level > 9.0 && lead.score > 1.0"}],
            "working_hours": {"zone": "America/New_York", "mon": ["08:00-17:00"]},
            "service_areas": True,
            "relax": [{"after": "2m", "drop": "lowest"}],
            "overflow": {"pool": "installers"},
            "limits": [
                {"of": "member", "most": 100, "per": "month", "pace": {"day": 10, "week": 30}},
                {"of": "pool", "most": 500, "per": "30d", "counts": "kept"},
                {"share": 20, "per": "7d", "from": 20},
            ],
            "fairness": {"unit": "value", "value": "lead.score", "worth": 100, "most": 20},
            "answers": {
                "hot_within": "9h",
                "work_within": "99h",
                "ladder": [{"rings": 2}, {"tiers": ["silver"]}],
                "hours": {"zone": "UTC", "mon": ["08:00-12:00"], "holidays": ["2026-12-25"]},
            },
        },
    ],
    "tiers": [{"name": "gold", "weight": 2.0, "capacity": 4}, {"name": "silver", "weight": 3.0, "capacity": 0}],
    "default_tier": {"capacity": 2},
    "rules": [
        {
            "name": "big",
            "when": 'lead.score > 5.0 && lead.product.startsWith("ro")',
            "then": {"pool": "north", "skills": [{"name": "languages", "wanted": "fr"}], "preferred": "m1"},
            "examples": [{"lead": {"score": 6, "product": "roof"}, "expect": {"pool": "north"}}],
        },
        {"name": "roofs", "when": "lead.score > 7.0", "then": {"priority": 5, "continue": True}},
        {"name": "owned", "then": {"owner": {"table": "territory", "column": "owner"}}},
    ],
    "default": {"pool": {"by": "country"}},
    "limits": [{"name": "daily", "of": "member", "most": 5, "per": "day"}],
    "entry": {"queues": ["00G5g000001AbCdEAK"], "when": 'lead.source == "Web"'},
    "giving": {"accept": True, "beyond_capacity": True},
    "priority": {
        "points": [
            {"name": "hot", "when": "lead.hot", "points": 100},
            {"name": "s", "fact": "lead.score", "times": 1.0},
        ],
        "ageing": {"point_every": "10m", "longest_wait": "24h"},
        "best": {"percent": 10},
    },
}
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["gold", "4h", "lead.score > 1.0", "mi", "US", "north", "08:00-12:00", "2026-12-25", "sha256:00"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(part: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every way into a document."""
    steps = list(part.items()) if isinstance(part, dict) else list(enumerate(part)) if isinstance(part, list) else []
    for step, inner in steps:
        yield (*way, step)
        yield from places(inner, (*way, step))


WAYS = list(places(WHOLE)) + [("rules", 0)] * 20


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A whole document in which some parts were taken out, doubled, or replaced by something else."""
    made = copy.deepcopy(WHOLE)
    for way in draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=3)):
        part: Any = made
        try:
            for step in way[:-1]:
                part = part[step]
            old = part[way[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        what = draw(st.sampled_from(["junk", "junk", "out", "twice", "word"]))
        if what == "out":
            del part[way[-1]]
        elif what == "twice" and isinstance(part, list):
            part.append(old)
        elif what == "word" and isinstance(part, dict):
            part[draw(st.text(max_size=8))] = old
        else:
            part[way[-1]] = draw(JUNK)
    return made


@st.composite
def ruled(draw: st.DrawFn) -> dict[str, Any]:
    """A sound document with rules of any conditions."""
    thens: list[dict[str, Any]] = [
        {"pool": "north"},
        {"pool": "installers"},
        {"review": "x"},
        {"priority": 3},
        {"hold": "basket", "continue": True},
        {"pool": {"table": "territory", "column": "pool"}},
        {"pool": "north", "skills": [{"name": "level", "wanted": 5}]},
        {"owner": "m9"},
    ]
    conditions = draw(st.lists(CONDITIONS, min_size=1, max_size=6))
    rules = [
        {"name": f"r{at}", "when": when, "then": draw(st.sampled_from(thens))} for at, when in enumerate(conditions)
    ]
    return copy.deepcopy(WHOLE) | {"rules": rules}


def says_where(exc: BadInput) -> None:
    assert exc.field
    assert exc.fix


def read(document: Mapping[str, Any]) -> Policy | None:
    try:
        return parse(document, 1)
    except BadInput as exc:
        says_where(exc)
        return None


def shows_what_it_claims(policy: Policy, document: Mapping[str, Any]) -> int:
    """Give every lead that is shown to the real rules; how many there were."""
    book, count = policy.rulebook, 0
    for one in findings(document, PEOPLE, policy=policy, now=NOW):
        json.dumps(one.to_dict())
        if book is None or one.way[0] not in ("rules", "default") or not one.witness:
            continue
        facts = book.around.vocabulary.read(one.witness, [n for n in one.witness if n in book.around.vocabulary.kinds])
        usual = {"lead.attempt": 1, "lead.moves": 0, "lead.hot": False, "lead.priority": 0, "lead.precision": "exact"}
        facts = {**usual, "lead.received_at": NOW, **facts}
        now = facts.pop("now", NOW)
        assert isinstance(now, datetime)
        course = book.course(facts, now)
        heard = () if course is None else (course.rule, *course.passed)
        count += 1
        if one.way[0] == "default":
            assert one.code != "dead_default" or "default" not in heard
            continue
        assert isinstance(one.way[1], int)
        rule = book.rules[one.way[1]]
        holds = rule.when is None or Look(book.around, facts, now).holds(rule.when)
        if one.code == "unreachable_rule":
            assert holds
            assert rule.name not in heard
        elif one.code == "contradictory_overlap":
            assert holds
            assert course is not None
            assert course.rule != rule.name
        elif one.code == "impossible_rule":
            assert not holds
        elif one.code == "skills_nobody_has":
            assert course is not None
            assert course.skills
    return count


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(spoilt())
def test_a_spoilt_document_is_read_or_refused_and_checked_without_a_fault(document: dict[str, Any]) -> None:
    policy = read(document)
    if policy is not None:
        shows_what_it_claims(policy, document)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ruled())
def test_M11_what_the_check_shows_is_so(document: dict[str, Any]) -> None:
    policy = read(document)
    assert policy is not None
    shows_what_it_claims(policy, document)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="abc:-*&<>{}[]!%|?'\"\n #~,.0123", max_size=80))
def test_any_text_is_a_document_or_bad_input(text: str) -> None:
    try:
        document = policy_text.read(text, "p.yaml")
    except BadInput as exc:
        says_where(exc)
        return
    assert read(document) is None
    json.dumps(document, allow_nan=True)


def test_the_whole_document_is_sound_and_says_the_same_when_it_is_written_and_read_again() -> None:
    for document in (WHOLE, default_document()):
        again = policy_text.read(dump(json.loads(json.dumps(document))), "p.yaml")
        assert dict(again) == dict(document)
        policy = read(again)
        assert policy is not None
        told = [one.code for one in findings(again, PEOPLE, policy=policy, now=NOW)]
        assert ("attempts_beyond_members" in told) == (document is WHOLE)

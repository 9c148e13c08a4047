"""Rules: the first that matches and says a thing is heard on it."""

from datetime import UTC, datetime, timedelta

from routing import conditions
from routing.course import Course, Skill, Way
from routing.look import Surroundings
from routing.policy import Pool, Rings
from routing.rules import MICRO, From, Rule, Rulebook, Then, Wanted
from routing.tables import KeyPart, Table
from routing.vocabulary import STANDARD, Kind

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RINGS = Rings("mi", (5.0,))
POOLS = [Pool("us", "main", frozenset({"US"}), RINGS), Pool("rest", "main", frozenset(), RINGS)]
TERRITORY = Table(
    "territory",
    (KeyPart("lead.country"), KeyPart("lead.postal_code", 3)),
    {"pool": Kind.TEXT, "owner": Kind.TEXT, "rank": Kind.WHOLE},
    {("us", "941"): ("us", "", 3), ("us", "100"): ("gone", "joe", None)},
)
AROUND = Surroundings.of({**STANDARD, "lead.language": Kind.TEXT, "lead.value": Kind.NUMBER}, {"territory": TERRITORY})
DEFAULT = Then(Way.POOL, by_country=True)


def rule(name: str, when: str | None, **then: object) -> Rule:
    condition = None if when is None else conditions.compile(when, AROUND.vocabulary, where=name)
    return Rule(name, condition, Then(**then))  # type: ignore[arg-type] # the fields of Then, by name


def course(*rules: Rule, default: Then = DEFAULT, without: tuple[str, ...] = (), **facts: object) -> Course:
    lead = {f"lead.{name}": value for name, value in facts.items()}
    found = Rulebook(rules, default, AROUND, POOLS).course(lead, NOW, without=without)
    assert found is not None
    return found


HOT = rule("hot", "lead.hot", way=Way.HOLD, target="hot-leads")
AMERICAN = rule("american", 'lead.country == "US"', way=Way.POOL, target="us")


def test_M2_the_first_match_wins() -> None:
    assert course(HOT, AMERICAN, hot=True, country="US").rule == "hot"
    assert course(AMERICAN, HOT, hot=True, country="US").rule == "american"


def test_M2_what_no_rule_decides_takes_the_default() -> None:
    made = course(HOT, AMERICAN, country="DE")
    assert (made.rule, made.pool, made.passed) == ("default", POOLS[1], ())


def test_M2_a_rule_that_only_sets_something_falls_through_and_the_first_word_on_a_thing_holds() -> None:
    first = rule("valuable", "lead.value > 1000", priority=9, units=2)
    second = rule("anything", None, priority=1, best_first=True)
    made = course(first, second, AMERICAN, country="US", value=5000)
    assert (made.rule, made.priority, made.units, made.best_first) == ("american", 9, 2, True)
    assert made.passed == ("valuable", "anything")
    assert made.set_by == (("valuable", {"priority": 9, "units": 2}), ("anything", {"best_first": True}))


def test_M2_a_rule_may_go_on_or_end_the_search_against_its_habit() -> None:
    goes_on = rule("us", 'lead.country == "US"', way=Way.POOL, target="us", goes_on=True)
    assert course(goes_on, HOT, country="US", hot=True).rule == "us"
    assert course(goes_on, rule("more", None, priority=3), country="US").priority == 3
    stops = rule("plain", None, priority=3, goes_on=False)
    made = course(stops, AMERICAN, country="US")
    assert (made.rule, made.priority, made.passed) == ("default", 3, ("plain",))


def test_M7_a_rule_looks_its_pool_up_and_one_that_finds_nothing_is_passed_over() -> None:
    by_table = rule("by-table", None, way=Way.POOL, target=From("territory.pool"), priority=From("territory.rank"))
    found = course(by_table, country="us", postal_code=" 94110")
    assert (found.rule, found.pool, found.priority) == ("by-table", POOLS[0], 3)
    for postal_code in ("99999", "10001"):  # no row; a pool that is no more
        passed_over = course(by_table, country="US", postal_code=postal_code)
        assert (passed_over.rule, passed_over.priority, passed_over.passed) == ("default", None, ())


def test_a_condition_asks_the_row_of_a_table() -> None:
    owned = rule("owned", 'territory.owner != ""', way=Way.OWNER, target=From("territory.owner"))
    assert course(owned, country="US", postal_code="10001").target == "joe"
    assert course(owned, country="US", postal_code="94110").rule == "default"
    assert course(owned, country="US", postal_code="00000").rule == "default"


def test_M5_skills_are_collected_and_may_come_from_the_lead() -> None:
    spoken = rule("spoken", "has(lead.language)", skills=(Wanted("languages", From("lead.language")),))
    big = rule(
        "big", "lead.value > 1000", skills=(Wanted("commercial", 5, timedelta(minutes=10)), Wanted("languages", "en"))
    )
    made = course(spoken, big, value=5000, language="es")
    assert made.skills == (Skill("languages", "es"), Skill("commercial", 5, timedelta(minutes=10)))
    assert [skill.name for skill in course(spoken, big, value=1, language="").skills] == []


def test_numbers_that_are_looked_up_stay_within_bounds() -> None:
    def turn(value: object) -> int:
        return course(rule("turn", None, turn=From("lead.value"), units=From("lead.value")), value=value).turn

    assert [turn(2.5), turn(0), turn(-1), turn(1e9), turn("x")] == [2_500_000, MICRO, MICRO, MICRO, MICRO]


def test_rules_that_a_lead_has_behind_it_are_left_out() -> None:
    assert course(HOT, AMERICAN, without=("hot",), hot=True, country="US").rule == "american"


def test_the_course_keeps_every_fact_that_the_rules_could_ask_and_comes_out_of_them_again() -> None:
    rules = [
        rule("old", "lead.age_hours > 5", way=Way.HOLD, target="old"),
        rule("late", 'now > timestamp("2027-01-01T00:00:00Z")', way=Way.REVIEW),
        rule("by-table", None, way=Way.POOL, target=From("territory.pool")),
    ]
    book = Rulebook(rules, DEFAULT, AROUND, POOLS)
    lead = {
        "lead.country": "US",
        "lead.postal_code": "94110",
        "lead.received_at": datetime(2026, 11, 22, 11, tzinfo=UTC),
        "lead.city": "nobody asks",
    }
    made = book.course(lead, NOW)
    assert made is not None
    assert set(made.used) == {"lead.country", "lead.postal_code", "lead.received_at", "now"}
    assert book.course(made.used, datetime.fromisoformat(str(made.used["now"]))) == made


def test_no_pool_serves_the_country() -> None:
    assert Rulebook([], DEFAULT, AROUND, POOLS[:1]).course({"lead.country": "DE"}, NOW) is None

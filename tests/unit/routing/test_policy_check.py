"""What the check says of pools, tiers, rings, times, rules and people, each with what shows it (row M11)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from config import policy_text
from config.policy import default_document, parse
from config.policy_checking import findings
from routing.check_people import People
from routing.finding import Finding, Severity
from routing.lead import Point
from routing.member import Member, Roster
from routing.policy_check import publishable

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)  # a Monday
HEAD = """
attributes:
  lead: {score: number, product: text}
  member: {languages: list, commercial: number}
tiers:
  - {name: gold, weight: 2, capacity: 4}
  - {name: silver, weight: 1, capacity: 2}
default_tier: {capacity: 2}
"""
POOL = "{name: installers, market: main, rings: {unit: mi, radii: [5, 15, 30]}%s}"


def policy(pools: str = "", rules: str = "", default: str = "{pool: installers}", more: str = "", own: str = "") -> str:
    """A policy as somebody writes it: `own` within its first pool, `pools` beside it."""
    written = HEAD + more + f"pools:\n  - {POOL % own}\n{pools}"
    return written + (f"default: {default}\nrules:\n{rules}" if rules else "")


def people(
    *members: dict[str, Any],
    held: dict[int, int] | None = None,
    used: dict[str, dict[int, int]] | None = None,
    market: str = "main",
) -> People:
    made = []
    for at, one in enumerate(members, 1):
        usual: dict[str, Any] = {"tier": "gold", "places": (Point(40 + at, -74),), "country": "US"}
        made.append(Member(id=at, key=f"m{at}", name=f"M {at}", market=market, **usual | one))
    return People({market: Roster(market, 1, made)}, held or {}, {market: used or {}})


MONDAYS = [f"{datetime.fromordinal(NOW.toordinal() + 7 * week):%Y-%m-%d}" for week in range(-1, 60)]
FOUR = people({}, {}, {}, {"tier": "silver"})


def found(text: str, known: People | None = None) -> Sequence[Finding]:
    return findings(policy_text.read(text, "p.yaml"), known, now=NOW)


def one(text: str, code: str, known: People | None = None) -> Finding:
    made = found(text, known)
    [only] = [each for each in made if each.code == code]
    return only


def test_the_policy_that_ships_has_nothing_to_be_said_about() -> None:
    assert findings(default_document(), now=NOW) == []
    assert found(policy()) == []
    assert found(policy(), FOUR) == []


def test_M11_an_unreachable_rule_is_told_with_a_lead_that_another_rule_takes() -> None:
    rules = """
  - {name: any_roof, when: 'lead.product == "roof"', then: {review: x}}
  - {name: big_roof, when: 'lead.product == "roof" && lead.score > 5.0', then: {pool: installers}}
"""
    told = one(policy(rules=rules), "unreachable_rule")
    assert (told.severity, told.path, told.witness["lead.product"]) == (Severity.WARNING, "rules[1]", "roof")
    assert "taken by any_roof" in told.message
    assert told.line == 15


def test_M11_a_contradictory_overlap_is_told_with_a_lead_that_both_rules_match() -> None:
    rules = """
  - {name: roofs, when: 'lead.product == "roof"', then: {review: x}}
  - {name: big, when: 'lead.score > 5.0', then: {pool: installers}}
"""
    text = policy(rules=rules)
    told = one(text, "contradictory_overlap")
    made = parse(policy_text.read(text, "p"), 0)
    assert made.rulebook is not None
    assert all(rule.when is not None and rule.when.holds(told.witness) for rule in made.rulebook.rules)


def test_M11_an_empty_pool_is_told_with_a_lead_that_would_wait() -> None:
    pools = "  - {name: south, market: australia, countries: [AU], rings: {unit: km, radii: [10, 20]}}\n"
    told = one(policy(pools), "empty_pool", FOUR)
    assert (told.path, dict(told.witness)) == ("pools[1]", {"lead.country": "AU"})
    assert one(policy(), "empty_pool", people({"active": False})).severity is Severity.WARNING
    assert one(policy(), "empty_pool", people({"capacity": 0}, {"capacity": 0})).path == "pools[0]"
    assert one(policy(own=", countries: [AU]"), "nobody_in_reach", FOUR).witness["lead.country"] == "AU"


def test_M11_more_attempts_than_members_are_told_with_the_attempt_that_finds_nobody() -> None:
    told = one(policy(own=", reassignments: 4"), "attempts_beyond_members", FOUR)
    assert told.witness["lead.attempt"] == 5
    assert found(policy(own=", reassignments: 3"), FOUR) == []
    only_silver = ", reassignments: 1, answers: {ladder: [{tiers: [silver]}]}"
    assert one(policy(own=only_silver), "attempts_beyond_members", FOUR).witness["lead.attempt"] == 2


SKILLED = """
  - name: spanish
    when: lead.product == "roof"
    then: {pool: installers, skills: [{name: languages, wanted: es}, {name: commercial, wanted: 5}]}
"""


def test_M11_a_set_of_skills_that_nobody_has_is_told_with_a_lead_that_asks_for_it() -> None:
    apart = people(
        *({"attributes": each} for each in ({"languages": ["es"]}, {"commercial": 7}, {"languages": "en;es"})), {}
    )
    told = one(policy(rules=SKILLED), "skills_nobody_has", apart)
    assert told.witness["lead.product"] == "roof"
    assert told.path == "rules[0].then.skills"
    together = people({"attributes": {"languages": "en;es", "commercial": "5"}}, {}, {}, {"tier": "silver"})
    assert found(policy(rules=SKILLED), together) == []


@pytest.mark.parametrize(
    ("code", "path", "text"),
    [
        ("gap_in_rings", "pools[1].rings", "radii: [5, 50]"),
        ("no_wider_ring", "pools[1].poor_places.city", "radii: [5]}, poor_places: {city: wider_ring"),
        ("ring_beyond_last", "pools[1].answers.ladder[0]", "radii: [5, 9]}, answers: {ladder: [{rings: 4}]"),
        (
            "rungs_beyond_attempts",
            "pools[1].answers.ladder",
            "radii: [5, 9]}, reassignments: 0, answers: {ladder: [{rings: 1}, {}]",
        ),
        ("hot_is_slower", "pools[1].answers.hot_within", "radii: [5]}, answer_within: 1h, answers: {hot_within: 2h"),
        (
            "return_ends_first",
            "pools[1].answers.return_within",
            "radii: [5]}, answers: {work_within: 5d, return_within: 1d",
        ),
        (
            "slow_deadline",
            "pools[1].answers.hours",
            'radii: [5]}, answer_within: 4h, answers: {hours: {zone: UTC, mon: ["08:00-09:00"]}',
        ),
        (
            "hours_never_open",
            "pools[1].answers.hours",
            f"radii: [5]}}, answers: {{hours: {{zone: UTC, mon: [08:00-12:59], holidays: {MONDAYS}}}",
        ),
        ("no_rejections", "pools[1].answers.rejects_a_day", "radii: [5]}, answers: {rejects_a_day: 0"),
        ("private_before_accepting", "pools[1].answers.shown", "radii: [5]}, answers: {shown: [city, phone]"),
        ("weights_ignored", "pools[1].mode", "radii: [5]}, mode: least_recent, answers: {fan_out: 1"),
        (
            "falling_ramp",
            "pools[1].turns.ramp",
            "radii: [5]}, turns: {ramp: [{days: 5, percent: 50}, {days: 9, percent: 25}]",
        ),
        (
            "shared_with_nobody",
            "pools[1].rotation",
            "radii: [5]}, scope: shared, rotation: all, poor_places: {city: review",
        ),
        (
            "rings_of_another_pool",
            "pools[1].rings_by_country",
            "radii: [5]}, rings_by_country: [{countries: [DE], unit: km, radii: [9]}], poor_places: {city: review",
        ),
    ],
)
def test_what_is_odd_about_a_pool_is_told_with_its_place_what_shows_it_and_a_fix(
    code: str, path: str, text: str
) -> None:
    told = one(policy(f"  - {{name: south, market: main, countries: [AU], rings: {{unit: km, {text}}}}}\n"), code)
    assert told.path == path
    assert told.fix
    assert told.witness
    assert told.line
    assert publishable([told]) == (code != "hours_never_open")


def test_pools_that_share_a_rotation_in_two_modes_are_told() -> None:
    shared = ", scope: shared, rotation: all"
    pools = (
        f"  - {{name: south, market: main, countries: [AU], mode: cursor, rings: {{unit: km, radii: [9]}}{shared}}}\n"
    )
    assert one(policy(pools, own=shared), "shared_in_two_modes").witness["lead.country"] == "AU"


def test_tiers_that_get_nothing_or_stand_the_wrong_way_round_are_told() -> None:
    text = policy().replace("weight: 1, capacity: 2}", "weight: 3, capacity: 0}")
    assert one(text, "no_capacity").path == "tiers[1].capacity"
    assert one(text, "worse_tier_weighs_more").witness == {"member.tier": "silver"}


@pytest.mark.parametrize(("name", "twin"), [("g\u043eld", None), ("\uff47\uff4f\uff4c\uff44", "gold")])
def test_names_that_look_like_others_are_told(name: str, twin: str | None) -> None:
    text = policy().replace("name: silver", f"name: {name}")
    told = one(text, "looks_like_another")
    assert told.path == "tiers[1].name"
    assert (twin is None) == ("mixes" in told.message)
    assert [each.code for each in found(policy().replace("name: silver", "name: 金牌"))] == []


def test_M11_a_pool_that_no_rule_sends_to_is_told() -> None:
    pools = "  - {name: south, market: main, countries: [AU], rings: {unit: km, radii: [9]}}\n"
    rules = "  - {name: big, when: lead.score > 5.0, then: {review: x}}\n"
    assert one(policy(pools, rules), "pool_without_rule").path == "pools[1]"
    assert found(policy(pools, rules, default="{pool: {by: country}}")) == []


def test_a_country_that_no_pool_takes_is_told() -> None:
    told = one(policy(own=", countries: [US, CA]"), "country_without_pool")
    assert told.witness["lead.country"] not in ("US", "CA")


def test_rows_whose_key_no_lead_can_have_are_told() -> None:
    more = """
tables:
  territory:
    key: [lead.country]
    columns: {owner: text}
    rows: [{country: US, owner: m1}, {country: UK, owner: nobody}]
"""
    rules = "  - {name: owned, when: has(territory.owner), then: {owner: {table: territory, column: owner}}}\n"
    told = one(policy(rules=rules, more=more), "dead_rows", FOUR)
    assert "'uk'" in told.message
    assert "nobody" in one(policy(rules=rules, more=more), "unknown_member", FOUR).message


def test_G8_an_area_whose_latitude_and_longitude_changed_places_is_told_of() -> None:
    ring = "[[%s],[%s],[%s],[%s],[%s]]"
    right = ring % ("-75,41", "-73,41", "-73,44", "-75,44", "-75,41")
    wrong = ring % ("41,-75", "41,-73", "44,-73", "44,-75", "41,-75")
    rules = "  - {name: north, when: area.north, then: {review: x}}\n"
    for drawn, codes in ((wrong, ["swapped_area"]), (right, [])):
        more = f"areas: {{north: {{geojson: {{type: Polygon, coordinates: [{drawn}]}}}}}}\n"
        told = found(policy(rules=rules, more=more), FOUR)
        assert [one.code for one in told if one.code == "swapped_area"] == codes


def test_members_whom_a_rule_names_and_nobody_knows_are_told() -> None:
    rules = """
  - {name: vip, when: lead.score > 5.0, then: {owner: m9}}
  - {name: old, when: lead.score < 5.0, then: {pool: installers, preferred: m1, preferred_for: 2h}}
"""
    assert one(policy(rules=rules), "unknown_member", FOUR).path == "rules[0].then.owner"


def test_tiers_and_rungs_without_anybody_are_told_and_so_is_a_tier_that_is_not_named() -> None:
    known = people({}, {"tier": "bronze"}, {}, {})
    told = found(policy(own=", reassignments: 1, answers: {ladder: [{}, {tiers: [silver]}]}"), known)
    assert sorted(each.code for each in told) == ["rung_with_nobody", "tier_not_named", "tier_with_nobody"]


def test_limits_below_what_is_held_are_told_with_the_member() -> None:
    told = one(policy(), "limit_below_held", people({}, {}, {}, {"capacity": 1}, held={1: 4, 4: 3}))
    assert told.witness == {"member.key": "m4", "member.open": 3, "member.capacity": 1}


def test_limits_below_what_is_used_are_told_with_the_member_the_pool_or_the_network() -> None:
    today, month = NOW.date().toordinal(), NOW.year * 12 + NOW.month
    used = {"/daily/day/m1": {today: 6}, "/daily/day/m2": {today: 5, today - 1: 9}, "/daily/day/m4": {today: 7}}
    used |= {"kept/installers/all-of-it/month/all": {month: 30}, "/net/day/nblue": {today: 4}}
    own = ", limits: [{name: all-of-it, of: pool, most: 20, per: month, counts: kept}]"
    more = "limits: [{name: daily, of: member, most: 5, per: day}, {name: net, of: network, most: 3, per: day}]\n"
    blue = {"attributes": {"network": "blue"}}
    told = found(policy(own=own, more=more), people(blue, {}, blue, {}, used=used))
    below = {one.witness["limit"]: one for one in told if one.code == "limit_below_held"}
    assert below["daily"].witness == {"member.key": "m4", "limit": "daily", "used": 7, "most": 5}
    assert "by m1, m4" in below["daily"].message
    assert (below["all-of-it"].path, "the pool" in below["all-of-it"].message) == ("pools[0].limits", True)
    assert "the network blue" in below["net"].message
    assert below.keys() == {"daily", "all-of-it", "net"}


def test_M11_a_gap_in_the_hours_at_which_anybody_works_is_told_with_a_lead_that_comes_in_it() -> None:
    week = {"mon": ["08:00-17:00"], "tue": ["08:00-17:00"], "thu": ["08:00-17:00"], "fri": ["08:00-17:00"]}
    own = f", working_hours: {{zone: America/New_York, {', '.join(f'{day}: {spans}' for day, spans in week.items())}}}"
    told = one(policy(own=own), "gap_in_hours", FOUR)  # nobody works on Wednesdays
    assert told.severity is Severity.NOTE
    assert (told.witness["lead.received_at"], told.witness["nobody until"]) == (
        "2026-11-24T22:00:00+00:00",
        "2026-11-26T13:00:00+00:00",
    )
    on_wednesdays = people({}, {"attributes": {"hours": "wed 12:00-13:00"}})
    assert [each.code for each in found(policy(own=own), on_wednesdays) if "hours" in each.code] == []
    usual = own.replace("thu", "wed: ['08:00-17:00'], thu")
    assert [each.code for each in found(policy(own=usual), FOUR) if "hours" in each.code] == []
    once = ", working_hours: {zone: UTC, mon: ['08:00-12:00']}"
    assert one(policy(own=once), "gap_in_hours", FOUR).severity is Severity.WARNING
    always = people({}, {"attributes": {"hours": "mon-sun 00:00-24:00"}})
    assert [each.code for each in found(policy(own=own), always) if "hours" in each.code] == []


def test_what_matters_most_is_told_first_and_overlaps_of_a_rule_are_told_together_and_last() -> None:
    rules = """
  - {name: spam, when: 'lead.source == "Test"', then: {quarantine: spam}}
  - {name: roofs, when: 'lead.product == "roof"', then: {review: x}}
  - {name: heat, when: 'lead.product == "heat"', then: {hold: later}}
  - {name: big, when: 'lead.score > 5.0', then: {pool: installers}}
  - {name: bigger, when: 'lead.score > 9.0', then: {hold: later}}
"""
    told = found(policy(rules=rules, own=", mode: least_recent"), FOUR)
    assert [one.code for one in told] == ["unreachable_rule", "weights_ignored", "contradictory_overlap"]
    assert told[-1].message.startswith("roofs and big both match this lead")
    assert told[-1].message.endswith("; so does heat")


def test_a_first_ring_that_holds_nearly_everyone_is_told() -> None:
    near = people(*({"places": (Point(40 + at / 1000, -74),)} for at in range(12)))
    told = one(policy(), "first_ring_too_wide", near)
    assert told.witness["lead.latitude"] >= 40
    far = people(*({"places": (Point(40 + at, -74),)} for at in range(12)))
    assert [each.code for each in found(policy(), far) if "ring" in each.code] == []


def test_more_of_one_kind_than_anybody_reads_are_counted() -> None:
    rules = "".join(f"  - {{name: r{at}, when: lead.score > {at + 5}, then: {{review: x{at}}}}}\n" for at in range(60))
    told = found(policy(rules=rules))
    assert sum(each.code == "unreachable_rule" for each in told) == 50
    assert one(policy(rules=rules), "more_unreached").severity is Severity.NOTE


def test_limits_that_never_bind_or_leave_nothing_and_shares_that_do_not_reach_are_told() -> None:
    own = ", limits: [{most: 9, per: day}, {most: 9, per: week}, {share: 20, per: 7d, from: 20}]"
    assert one(policy(own=own), "limit_never_binds").path == "pools[0].limits[0]"
    assert one(policy(own=own), "share_too_small", FOUR).witness["members"] == 4
    sound = (
        ", limits: [{most: 3, per: day}, {most: 9, per: week}, {most: 9, per: month}, {share: 40, per: 7d, from: 20}]"
    )
    assert found(policy(own=sound), FOUR) == []


def test_a_lead_that_is_too_heavy_for_anybody_is_told() -> None:
    rules = "  - {name: big, when: lead.score > 5.0, then: {pool: installers, units: 5}}\n"
    told = one(policy(rules=rules), "lead_too_heavy", FOUR)
    assert (told.path, told.witness["lead.score"]) == ("rules[0].then.units", 6.0)
    assert found(policy(rules=rules.replace("units: 5", "units: 4")), FOUR) == []

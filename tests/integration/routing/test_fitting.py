"""Members by what they are: skills, certificates, conditions, hours and areas; and what is given up by and by."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from storage.postgres.explain import Explain
from storage.postgres.reexecution import Reexecution
from tests.integration.routing.house import MARKET, House
from tests.integration.routing.test_special_cases import later, ruled, steps, when
from workers import render

SPANISH: dict[str, Any] = {"name": "languages", "wanted": "es"}
COMMERCIAL: dict[str, Any] = {"name": "commercial", "wanted": 5}
BOTH = {"language": "es", "kw": 120}


def skilled(*skills: dict[str, Any], **pool: Any) -> Any:
    return ruled(when("spanish-commercial", "lead.language == 'es'", skills=list(skills)), **pool)


def weighed(house: House, lead: int) -> dict[int, int]:
    """Each candidate's gate in the lead's last decision."""
    row = house.rows("SELECT member, gate FROM decisions WHERE lead_id = :lead ORDER BY seq DESC LIMIT 1", lead=lead)[0]
    return dict(zip(row.member, row.gate, strict=True))


def words(house: House, lead: int) -> dict[str, str]:
    found = house.rows("SELECT inputs FROM decisions WHERE lead_id = :lead ORDER BY seq DESC LIMIT 1", lead=lead)
    gates: dict[str, str] = found[0].inputs.get("gates", {})
    return gates


def test_M5_a_lead_that_needs_two_skills_goes_only_to_members_who_have_both(house: House) -> None:
    house.publish_document(skilled(SPANISH, COMMERCIAL))
    one = house.member("speaks", attributes={"languages": ["en", "es"], "commercial": 4})
    other = house.member("builds", attributes={"languages": ["en"], "commercial": 9})
    both = house.member("both", 40.6, attributes={"languages": "en; ES", "commercial": "5"})
    lead = house.lead("00Q000000000000001", attributes=BOTH)
    house.work()
    assert house.holder(lead) == both
    assert weighed(house, lead) == {one: 5, other: 5, both: 0}
    assert words(house, lead) == {
        str(one): "commercial: 5 is wanted, has 4",
        str(other): "languages: es is wanted, has en",
    }


def test_E2_every_rule_that_had_a_part_is_named_with_what_it_set(house: House) -> None:
    speaks = when("speaks", "lead.language == 'es'", skills=[SPANISH], preferred="one", turn=0.5)
    late = when("late", "lead.kw > 100.0", skills=[SPANISH], priority=7)
    idle = when("idle", "lead.kw > 100.0", priority=3)
    house.publish_document(ruled(speaks, late, idle, when("to", "lead.kw > 100.0", pool="installers", units=2)))
    one = house.member("one", attributes={"languages": ["es"]}, capacity=2)
    lead = house.lead("00Q000000000000001", attributes=BOTH)
    house.work()
    assert house.holder(lead) == one
    told = Explain(house.engine).lead(str(lead))
    assert told is not None
    (decision,) = told.to_json()["decisions"]
    assert decision["rule"] == "to"
    assert decision["set_by"] == [
        {"rule": "speaks", "sets": {"skill languages": "es", "preferred": "one", "turn": 0.5}},
        {"rule": "late", "sets": {"priority": 7}},
        {"rule": "to", "sets": {"units": 2}},
    ]
    page = StringIO()
    render.story(told, Console(file=page, width=200))
    assert 'rule speaks set turn = 0.5, preferred = "one", skill languages = "es"' in page.getvalue()
    assert "rule late set priority = 7" in page.getvalue()
    again = Reexecution(house.engine, house.parse)
    assert [one.remade.same for one in again.run()] == [True]
    with house.engine.begin() as connection:  # as decisions were kept before
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("UPDATE decisions SET inputs = inputs - 'set_by'")
    assert [one.remade.same for one in again.run()] == [True]


def test_M5_a_lead_that_nobody_fits_waits_and_whoever_learns_the_skill_gets_it(house: House) -> None:
    house.publish_document(skilled(SPANISH))
    member = house.member("one", attributes={"languages": ["en"]})
    waiting = house.lead("00Q000000000000001", attributes=BOTH)
    behind = house.lead("00Q000000000000002", attributes={"language": "en"})
    house.work()
    assert house.state(waiting) == ("waiting", "nobody_fits")
    assert house.holder(behind) == member
    assert house.dispatcher.fill(MARKET) == 0
    house.member("one", attributes={"languages": ["en", "es"]})
    assert house.dispatcher.fill(MARKET) == 1
    assert house.holder(waiting) == member


def test_M5_a_freed_place_goes_to_the_first_lead_that_its_member_may_have(house: House) -> None:
    house.publish_document(skilled(SPANISH))
    member = house.member("one", capacity=1, attributes={"languages": ["en"]})
    first = house.lead("00Q000000000000001", attributes={"language": "en"})
    house.work()
    spanish = house.lead("00Q000000000000002", attributes=BOTH)
    plain = house.lead("00Q000000000000003", attributes={"language": "en"})
    house.work()
    house.overdue(first)
    house.tick()
    assert (house.holder(plain), house.holder(spanish)) == (member, None)


def test_M6_the_least_important_skill_is_dropped_first_and_a_required_one_never(house: House) -> None:
    soft = [SPANISH, COMMERCIAL | {"drop_after": "4m"}, {"name": "do_not_route", "wanted": True, "drop_after": "2m"}]
    house.publish_document(skilled(*soft))
    member = house.member("one", attributes={"languages": ["es"]})
    stranger = house.member("two", attributes={"languages": ["en"], "commercial": 9})
    lead = house.lead("00Q000000000000001", attributes=BOTH)
    hopeless = house.lead("00Q000000000000002", 40.0, -90.0, attributes=BOTH)
    house.work()
    assert house.state(lead) == ("waiting", "nobody_fits")
    later(house, timedelta(minutes=2))
    house.tick()
    assert [one["dropped"] for one in steps(house, lead, "asked for less")] == ["do_not_route"]
    assert house.state(lead) == ("waiting", "nobody_fits")
    house.tick()
    later(house, timedelta(minutes=2))
    house.tick()
    assert [one["dropped"] for one in steps(house, lead, "asked for less")] == ["do_not_route", "commercial"]
    assert house.holder(lead) == member
    assert weighed(house, lead)[stranger] == 5
    assert house.state(hopeless) == ("waiting", "no_partner_in_range")


def test_M6_a_pool_drops_what_is_not_required_and_asks_in_more_rings(house: House) -> None:
    relax = [{"after": "2m", "drop": "lowest"}, {"after": "10m", "rings": 1}]
    house.publish_document(skilled(SPANISH, COMMERCIAL | {"required": False}, relax=relax))
    far = house.member("far", 40.6, attributes={"languages": ["es"]})
    lead = house.lead("00Q000000000000001", attributes=BOTH)
    house.work()
    assert house.state(lead) == ("waiting", "no_partner_in_range")
    for minutes, state in ((3, "waiting"), (8, "offered")):
        later(house, timedelta(minutes=minutes))
        house.tick()
        assert house.state(lead)[0] == state
    assert house.holder(lead) == far
    assert [one["dropped"] for one in steps(house, lead, "asked for less")] == ["commercial", "ring"]


@pytest.mark.parametrize(("overflow", "ends"), [("hold", ("waiting", "held")), ({"pool": "shared"}, ("offered", None))])
def test_M6_less_is_asked_for_before_a_lead_overflows_or_is_for_a_person(
    house: House, overflow: Any, ends: tuple[str, str | None]
) -> None:
    shared = {"name": "shared", "market": MARKET, "countries": ["DE"], "rings": {"unit": "mi", "radii": [900]}}
    relax = [{"after": "2m", "rings": 1}, {"after": "9m", "drop": "lowest"}]  # there is nothing to drop
    house.publish_document(skilled(SPANISH, relax=relax, overflow=overflow, pools=[shared]))
    near = house.member("near", attributes={"languages": ["es"]})
    far = house.member("far", 40.6, attributes={"languages": ["es"]})
    lead = house.lead("00Q000000000000001", attributes=BOTH)
    nobody_near = house.lead("00Q000000000000002", 42.0, attributes=BOTH)
    house.work()
    assert (house.holder(lead), house.state(nobody_near)) == (near, ("waiting", "no_partner_in_range"))
    house.overdue(lead)
    house.tick()
    assert house.state(lead) == ("waiting", "nobody_fits")
    later(house, timedelta(minutes=2))
    house.tick()
    assert (house.holder(lead), house.state(nobody_near)) == (far, ends)


def test_M8_the_preferred_member_is_asked_alone_first_then_it_is_as_ever(house: House) -> None:
    rule = when("known", "lead.source == 'Known'", preferred="friend", preferred_for="20m")
    house.publish_document(ruled(rule, answers={"fan_out": 2}))
    near = [house.member(f"m{n}") for n in range(3)]
    friend = house.member("friend", 40.6)
    lead = house.lead("00Q000000000000001", source="Known")
    house.work()
    offers = house.rows("SELECT member_id, expires_at - offered_at AS time, attempt FROM offers ORDER BY offered_at")
    assert [(one.member_id, one.time, one.attempt) for one in offers] == [(friend, timedelta(minutes=20), 1)]
    assert house.value("SELECT reason FROM decisions") == "preferred"
    house.overdue()
    house.tick()
    assert house.value("SELECT attempt FROM leads WHERE id = :lead", lead=lead) == 3  # two at once
    assert {row.member_id for row in house.rows("SELECT member_id FROM offers WHERE state = 'offered'")} < {*near}
    assert house.value("SELECT moves FROM leads WHERE id = :lead", lead=lead) == 1
    assert house.turnstile.standings(MARKET, "installers").get(friend, None) is None or (
        house.turnstile.standings(MARKET, "installers")[friend].standing == 0
    )


def test_M8_a_preferred_member_without_room_does_not_keep_the_lead(house: House) -> None:
    house.publish_document(ruled(when("known", "lead.source == 'Known'", preferred="friend", preferred_for="20m")))
    near, friend = house.member("near"), house.member("friend", capacity=0)
    lead = house.lead("00Q000000000000001", source="Known")
    house.work()
    assert house.holder(lead) == near
    assert friend != near


def test_M9_a_certificate_that_ended_yesterday_shuts_its_member_out_today(house: House) -> None:
    house.publish_document(ruled(certificates=[{"name": "nabcep", "until": "member.nabcep_until"}]))
    zone = "Pacific/Kiritimati"  # where the day begins first
    today = datetime.now(ZoneInfo(zone)).date()
    yesterday = today - timedelta(days=1)
    ended = house.member("ended", attributes={"nabcep_until": str(yesterday), "timezone": zone})
    none = house.member("none")
    good = house.member("good", 40.3, attributes={"nabcep_until": str(today), "timezone": zone})
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.holder(lead) == good
    assert weighed(house, lead) == {ended: 6, none: 6, good: 0}
    assert words(house, lead) == {str(ended): f"nabcep: good until {yesterday}", str(none): "nabcep: none"}


def test_M9_who_must_not_get_leads_or_only_some_gets_none_or_only_those(house: House) -> None:
    conditions = [
        {"name": "do_not_route", "unless": "member.do_not_route"},
        {"name": "large", "when": "lead.kw < 100.0 || member.commercial >= 5.0"},
    ]
    house.publish_document(ruled(conditions=conditions))
    shut = house.member("shut", attributes={"do_not_route": True, "commercial": 9})
    small = house.member("small", attributes={"commercial": 1})
    large = house.member("large", 40.3, attributes={"commercial": 5})
    lead = house.lead("00Q000000000000001", attributes={"kw": 120})
    house.work()
    assert house.holder(lead) == large
    assert words(house, lead) == {str(shut): "do_not_route", str(small): "large"}
    little = house.lead("00Q000000000000002", attributes={"kw": 5})
    house.work()
    assert house.holder(little) == small


def test_who_is_not_at_work_is_asked_when_it_comes(house: House) -> None:
    now = datetime.now(UTC)
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    tomorrow = days[(now + timedelta(days=2)).weekday()]
    house.publish_document(ruled(working_hours={}))
    house.member("sleeps", attributes={"hours": f"{tomorrow} 08:00-17:00", "timezone": "UTC"})
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.state(lead) == ("waiting", "nobody_fits")
    opens = house.value("SELECT next_try_at FROM leads WHERE id = :lead", lead=lead)
    assert opens <= now + timedelta(hours=1, minutes=1)
    always = house.member("always")
    house.dispatcher.fill(MARKET)
    assert house.holder(lead) == always


def test_G8_a_members_own_area_is_held_to(house: House) -> None:
    house.publish_document(ruled(service_areas=True))
    square = {"type": "Polygon", "coordinates": [[[-76, 39], [-74.5, 39], [-74.5, 39.5], [-76, 39.5], [-76, 39]]]}
    elsewhere = house.member("elsewhere", attributes={"service_area": square})
    coded = house.member("coded", attributes={"service_postal_codes": "18*, 19001"})
    here = house.member("here", 40.3, attributes={"service_postal_codes": ["190*"]})
    lead = house.lead("00Q000000000000001")
    house.work()
    assert house.holder(lead) == here
    assert set(words(house, lead)) == {str(elsewhere), str(coded)}

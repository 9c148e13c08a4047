"""Leads that rules keep apart: given to a named member, held, waiting for facts, quarantined, left alone."""

import json
from datetime import datetime, timedelta
from typing import Any

from routing.offer import Actor
from tests.integration.routing.house import MARKET, House, document

ATTRIBUTES = {
    "lead": {"language": "text", "kw": "number", "product": "text", "score": "number", "phone_ok": "flag"},
    "member": {"languages": "list", "commercial": "number", "nabcep_until": "date", "do_not_route": "flag"},
}


def ruled(*rules: dict[str, Any], default: Any = "installers", pools: list[Any] | None = None, **more: Any) -> Any:
    """A policy document with these rules; `more` for its pool."""
    sections = {name: more.pop(name) for name in ("priority", "entry", "giving") if name in more}
    made = document(**more) | {"attributes": ATTRIBUTES, "rules": list(rules), "default": {"pool": default}} | sections
    return made | {"pools": [*made["pools"], *(pools or [])]}


def when(name: str, condition: str, **then: Any) -> dict[str, Any]:
    return {"name": name, "when": condition, "then": then}


def steps(house: House, lead: int, what: str) -> list[dict[str, Any]]:
    query = "SELECT detail FROM timeline WHERE lead_id = :lead AND what = :what ORDER BY id"
    return [row.detail for row in house.rows(query, lead=lead, what=what)]


def standings(house: House) -> dict[int, int]:
    return {member: one.standing for member, one in house.turnstile.standings(MARKET, "installers").items()}


def facts(**attributes: Any) -> dict[str, Any]:
    return {"attributes": attributes}


def test_M3_a_rule_above_the_pool_gives_to_a_named_owner_and_leaves_the_rotation_as_it_was(house: House) -> None:
    house.publish_document(ruled(when("key-account", "lead.source == 'Key'", owner="far")))
    near, other = house.member("near"), house.member("other")
    far = house.member("far", lat=47.0)
    for n in range(3):
        house.lead(f"00Q00000000000010{n}")
    house.work()
    before, decided = standings(house), house.value("SELECT count(*) FROM decisions")
    mine = house.lead("00Q000000000000200", source="Key")
    house.work()
    assert house.state(mine) == ("accepted", None)
    assert house.holder(mine) == far
    assert standings(house) == before
    assert house.value("SELECT count(*) FROM decisions") == decided
    assert house.turnstile.open_counts(MARKET)[far] == 1
    assert steps(house, mine, "offered")[0]["rule"] == "key-account"
    assert not house.breaches()
    assert {near, other} >= set(before)


def test_M3_a_named_owner_may_be_asked_instead_and_only_within_its_capacity(house: House) -> None:
    giving = {"accept": False, "beyond_capacity": False}
    house.publish_document(ruled(when("key", "lead.source == 'Key'", owner="far"), giving=giving))
    far = house.member("far", capacity=1)
    first = house.lead("00Q000000000000001", source="Key")
    second = house.lead("00Q000000000000002", source="Key")
    house.work()
    assert house.state(first) == ("offered", None)
    assert house.state(second) == ("waiting", "no_room")
    house.desk.reject(house.offer(first), "too_far", actor=Actor.MANAGER)
    house.work()
    house.dispatcher.fill(MARKET)
    house.work()
    assert house.state(first) == ("review", "ruled")  # it was asked before
    assert house.holder(second) == far
    assert not house.breaches()


def test_M3_an_owner_nobody_knows_is_for_a_person(house: House) -> None:
    house.publish_document(ruled(when("key", "lead.source == 'Key'", owner="nobody")))
    house.member("near")
    lead = house.lead("00Q000000000000001", source="Key")
    house.work()
    assert house.state(lead) == ("review", "ruled")
    assert steps(house, lead, "not given")[0]["because"] == "unknown"


def test_I6_a_lead_waits_for_named_facts_until_they_come_and_the_timeline_says_so(house: House) -> None:
    wait = {"facts": ["lead.score"], "up_to": "10m"}
    house.publish_document(ruled(when("enrich", "lead.source == 'Web'", wait=wait)))
    house.member("near")
    lead = house.lead("00Q000000000000001", source="Web")
    house.work()
    assert house.state(lead) == ("waiting", "missing_facts")
    house.dispatcher.fill(MARKET)
    house.tick()
    assert house.state(lead) == ("waiting", "missing_facts")
    assert steps(house, lead, "waits for facts")[0]["missing"] == ["lead.score"]
    house.journey.intake(house.store([house.change("00Q000000000000001", "UPDATE", body=facts(score=7))]))
    house.work()
    assert house.state(lead) == ("offered", None)
    assert steps(house, lead, "waited for facts") == [{"rule": "enrich", "exit": "facts", "missing": []}]
    assert not house.breaches()


def test_I6_after_its_time_a_lead_goes_on_without_the_facts(house: House) -> None:
    wait = {"facts": ["lead.score"], "up_to": "10m"}
    house.publish_document(ruled(when("enrich", "lead.source == 'Web'", wait=wait)))
    house.member("near")
    lead = house.lead("00Q000000000000001", source="Web")
    house.work()
    minutes = house.value("SELECT extract(epoch FROM next_try_at - clock_timestamp()) / 60 FROM leads")
    assert 9.5 < minutes <= 10
    later(house, timedelta(minutes=11))
    house.tick()
    assert house.state(lead) == ("offered", None)
    assert steps(house, lead, "waited for facts") == [{"rule": "enrich", "exit": "time", "missing": ["lead.score"]}]


def later(house: House, by: timedelta) -> None:
    """Let what rules have begun have begun so much earlier."""
    rows = house.rows("SELECT id, ruled FROM leads WHERE ruled <> '{}'")
    for row in rows:
        kept = row.ruled
        for rule, since in kept.get("waits", {}).items():
            kept["waits"][rule] = (datetime.fromisoformat(since) - by).isoformat()
        if "searched" in kept:
            kept["searched"][1] = (datetime.fromisoformat(kept["searched"][1]) - by).isoformat()
        house.run(
            "UPDATE leads SET ruled = CAST(:kept AS jsonb), next_try_at = next_try_at - :by WHERE id = :lead",
            kept=json.dumps(kept),
            by=by,
            lead=row.id,
        )


def test_I7_a_lead_that_fails_a_check_is_never_offered_and_one_word_releases_it(house: House) -> None:
    house.publish_document(ruled(when("spam", "lead.source == 'spam'", quarantine="source")))
    house.member("near")
    lead = house.lead("00Q000000000000001", source="spam")
    house.work()
    house.tick()
    house.dispatcher.fill(MARKET)
    assert house.state(lead) == ("review", "quarantined")
    assert house.value("SELECT rule FROM leads WHERE id = :lead", lead=lead) == "spam"
    assert steps(house, lead, "quarantined") == [{"rule": "spam", "target": "source"}]
    assert house.holder(lead) is None
    assert house.baskets.release([lead], actor="test").released == [lead]
    house.journey.route([lead])
    assert house.state(lead) == ("offered", None)
    assert not house.breaches()


def test_a_held_lead_stays_in_its_basket_until_it_is_distributed(house: House) -> None:
    house.publish_document(ruled(when("later", "lead.source == 'Fair'", hold="spring")))
    member = house.member("near", capacity=1)
    held = [house.lead(f"00Q00000000000000{n}", source="Fair") for n in range(2)]
    house.work()
    assert [house.state(lead) for lead in held] == [("waiting", "held")] * 2
    house.dispatcher.fill(MARKET)
    house.leads.wake()
    house.tick()
    assert [house.state(lead) for lead in held] == [("waiting", "held")] * 2
    assert house.baskets.all() == {"spring": 2}
    assert house.baskets.distribute("spring", limit=1, actor="test").released == held[:1]
    house.journey.route(held)
    assert house.holder(held[0]) == member
    assert house.state(held[1]) == ("waiting", "held")
    assert house.baskets.distribute("spring", actor="test").released == held[1:]
    assert not house.breaches()


def test_a_rule_sends_a_lead_to_a_person_or_leaves_it_alone(house: House) -> None:
    house.publish_document(
        ruled(when("odd", "lead.source == 'Odd'", review="look"), when("not-us", "lead.source == 'Rival'", ignore=True))
    )
    house.member("near")
    odd, rival = house.lead("00Q000000000000001", source="Odd"), house.lead("00Q000000000000002", source="Rival")
    house.work()
    assert house.state(odd) == ("review", "ruled")
    assert house.state(rival) == ("withdrawn", "not_ours")
    assert [one.salesforce_id for one in house.written] == ["00Q000000000000001"]
    assert not house.breaches()


def test_M4_only_leads_of_the_named_queues_or_that_pass_the_filter_are_written(house: House) -> None:
    entry = {"queues": ["00G000000000001"], "when": "lead.source == 'Partner'"}
    house.publish_document(ruled(entry=entry))
    house.member("near")
    queued = house.lead("00Q000000000000001", owner_id="00G000000000001AAA")
    partner = house.lead("00Q000000000000002", owner_id="005000000000001", source="Partner")
    others = [
        house.lead("00Q000000000000003", owner_id="005000000000001"),
        house.lead("00Q000000000000004", None, None, owner_id="005000000000001", city="", postal_code=""),
        house.lead("00Q000000000000005", owner_id="005000000000001", country="Atlantis"),
    ]
    house.work()
    house.tick()
    assert {house.state(lead) for lead in (queued, partner)} == {("offered", None)}
    assert {house.state(lead) for lead in others} == {("withdrawn", "not_ours")}
    assert {one.salesforce_id for one in house.written} == {"00Q000000000000001", "00Q000000000000002"}
    moved = {"owner_id": "00G000000000001AAA"}
    house.journey.intake(house.store([house.change("00Q000000000000003", "UPDATE", body=moved)]))
    house.work()
    assert house.state(others[0]) == ("offered", None)
    assert not house.breaches()


def test_facts_that_change_send_a_waiting_lead_elsewhere(house: House) -> None:
    house.publish_document(ruled(when("key", "lead.product == 'battery'", owner="far")))
    far = house.member("far", lat=47.0)
    lead = house.lead("00Q000000000000001", attributes={"product": "solar"})
    house.work()
    assert house.state(lead) == ("waiting", "no_partner_in_range")
    house.journey.intake(house.store([house.change("00Q000000000000001", "UPDATE", body=facts(product="battery"))]))
    house.work()
    assert house.holder(lead) == far
    assert "ruled_again" in house.story(lead)


def test_M1_a_fact_of_hundreds_of_digits_is_as_good_as_missing_and_its_lead_is_routed_like_any_other(
    house: House,
) -> None:
    house.publish_document(
        ruled(when("large", "lead.kw > 900.0", review="large"), when("any", "has(lead.kw)", hot=True))
    )
    near = house.member("near")
    leads = [house.lead("00Q000000000000001", attributes={"kw": 10**400}), house.lead("00Q000000000000002")]
    house.work()
    assert [house.holder(lead) for lead in leads] == [near, near]
    assert not house.errors
    assert house.value("SELECT inputs->>'lead.kw' FROM decisions WHERE lead_id = :lead", lead=leads[0]) == str(10**400)

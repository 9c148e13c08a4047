import pytest

from sandbox.bus import UnknownReplayId
from sandbox.faults import Faults
from sandbox.org import new_org
from tests.unit.sandbox.orgs import a_lead, an_org, read


def test_two_orgs_share_no_id_and_know_no_replay_id_of_each_other() -> None:
    here, there = new_org(), new_org()
    assert a_lead(here) != a_lead(there)
    with pytest.raises(UnknownReplayId):
        there.bus.after(here.bus.events[-1].replay_id)


def test_a_seed_makes_the_same_org_again() -> None:
    one, same = an_org(), an_org()
    assert (one.id, a_lead(one)) == (same.id, a_lead(same))
    assert one.bus.events[-1].event_id == same.bus.events[-1].event_id


def test_a_reset_org_keeps_its_people_and_forgets_the_rest() -> None:
    org = an_org()
    a_lead(org)
    replay = org.bus.events[-1].replay_id
    org.add_field("Lead", org.types["Account"].by_name["type"])
    org.faults.add({"place": "event", "kind": "lost"})
    org.reset()
    assert not org.tables["Lead"].records
    assert len(org.tables["User"].records) == 3
    assert "type" not in org.types["Lead"].by_name
    assert not org.faults.standing
    with pytest.raises(UnknownReplayId):
        org.bus.after(replay)


def test_an_event_too_big_for_the_wire_becomes_a_gap() -> None:
    org = an_org()
    for name in ("A__c", "B__c", "C__c"):
        field = org.types["Lead"].by_name["description"]
        org.add_field("Lead", type(field)(name=name, label=name, type="textarea", length=500_000))
    record_id = a_lead(org, **dict.fromkeys(("A__c", "B__c", "C__c"), "x" * 400_000))
    header, body = read(org, org.bus.events[-1])
    assert (header["changeType"], header["recordIds"], body) == ("GAP_CREATE", [record_id], {})


def test_a_fault_strikes_as_often_as_it_was_told_and_skips_what_it_should() -> None:
    faults = Faults(an_org().dice)
    faults.add({"place": "event", "kind": "lost", "match": {"object": "^Lead$"}, "skip": 1, "count": 2})
    struck = [bool(faults.take("event", {"object": name})) for name in ("Lead", "Account", "Lead", "Lead", "Lead")]
    assert struck == [False, False, True, True, False]

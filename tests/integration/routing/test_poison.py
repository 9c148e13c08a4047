"""One failing lead or event never fails its batch."""

from random import Random

from tests.integration.routing.house import House, city

WHOLE = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town"}


def test_one_unreadable_event_is_parked_alone_with_its_reason(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    good = [house.change(f"00Q0000000000000{n:02}", body=WHOLE) for n in range(20)]
    bad = house.change("00Q000000000000099", body=WHOLE | {"poison": "secret@example.com"})
    ids = house.store([*good[:10], bad, *good[10:]])
    assert house.journey.intake(ids) == {"new": 20, "parked": 1}
    house.work()
    assert house.value("SELECT count(*) FROM leads WHERE state = 'offered'") == 20
    parked = house.rows("SELECT kind, ref, reason FROM parked")
    assert [tuple(row) for row in parked] == [("event", str(ids[10]), "ValueError: see the log of the task")]
    assert house.value("SELECT state FROM events WHERE id = :i", i=ids[10]) == "parked"
    assert [type(error) for error in house.errors] == [ValueError]


def test_an_event_replayed_after_a_mend_and_failing_again_is_on_the_shelf_again(house: House) -> None:
    ids = house.store([house.change("00Q000000000000099", body={"poison": "x"})])
    house.journey.intake(ids)
    house.run("UPDATE parked SET resolved_at = now()")
    house.run("UPDATE events SET state = 'pending'")
    house.journey.intake(ids)
    assert house.value("SELECT resolved_at FROM parked") is None


def test_values_the_ledger_cannot_hold_park_their_own_event_alone(house: House) -> None:
    house.member("near", 40.01)
    good = house.change("00Q000000000000001", body=WHOLE)
    endless = "".join(Random(1).choices("0123456789abcdef", k=40_000))  # beyond what an index of Postgres holds
    absurd = house.change("00Q000000000000002", body=WHOLE | {"source_id": endless})
    house.journey.intake(house.store([absurd, good]))
    house.work()
    assert house.state(house.id_of("00Q000000000000001")) == ("offered", None)
    assert house.rows("SELECT kind, reason FROM parked")[0].reason.startswith("the ledger cannot hold this value")


def test_hostile_text_is_kept_as_far_as_it_can_be_and_stops_nobody(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    nasty = ["nul\x00byte", "lone\ud800surrogate", "x" * 1_000_000, "'; DROP TABLE leads; --", "\u202eright"]
    changes = [
        house.change(
            f"00Q00000000000000{n}", body=WHOLE | {"name": text, "attributes": {"note": text, "n": float("nan")}}
        )
        for n, text in enumerate(nasty)
    ]
    assert house.journey.intake(house.store(changes)) == {"new": len(nasty)}
    house.work()
    assert house.value("SELECT count(*) FROM leads WHERE state = 'offered'") == len(nasty)


def test_an_address_that_breaks_the_geocoder_is_parked_alone(house: House) -> None:
    house.member("near", 40.01)
    house.geography.cities["Town"] = city(40.0, -75.0)
    names = ["Town", "POISON", "BUSY"]
    changes = [
        house.change(f"00Q00000000000000{n}", body={"country": "US", "city": name}) for n, name in enumerate(names)
    ]
    house.journey.intake(house.store(changes))
    house.work()
    states = [house.state(house.id_of(f"00Q00000000000000{n}")) for n in range(3)]
    assert states == [("offered", None), ("review", "error"), ("new", None)]
    assert house.rows("SELECT kind FROM parked")[0].kind == "lead"


def test_a_lead_that_breaks_planning_is_parked_alone(house: House) -> None:
    house.member("near", 40.01)
    good, bad = house.lead("00Q000000000000001"), house.lead("00Q000000000000002")
    house.run("UPDATE leads SET geo_precision = 'guesswork' WHERE id = :i", i=bad)
    house.work()
    assert house.state(good) == ("offered", None)
    assert house.state(bad) == ("review", "error")

"""Events read together end as events read one by one, and go on in the same run."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing.change import Change
from tests.integration.routing.house import House, city, read

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHOLE = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town", "postal_code": "19000", "name": "Ann"}
KEPT = """
    SELECT substr(l.salesforce_id, 5) AS record, l.state, l.reason, l.dirty, l.city, l.country, l.lat, l.lon, l.cell,
           l.geo_precision, l.geo_provider, l.attributes, l.owner_id, l.priority, l.commit_number, l.sequence_number,
           l.received_at, l.changed_at, c.name, c.email,
           (SELECT array_agg(what ORDER BY id) FROM timeline t
            WHERE t.lead_id = l.id AND what <> 'review') AS told -- only where a batch ends is told
    FROM leads l JOIN lead_contacts c ON c.lead_id = l.id WHERE l.salesforce_id LIKE :which ORDER BY 1
"""
MEANT = """
    SELECT substr(record_id, 5), commit_number, state, meaning FROM events
    WHERE record_id LIKE :which ORDER BY commit_number, record_id
"""


def story(dice: random.Random, house: House, which: str) -> list[Change]:
    """Some fifty changes of a dozen records, in an order in which they may arrive."""
    changes = [_change(dice, house, f"00Q{which}0000000000000{dice.randrange(12):02}", n + 1) for n in range(50)]
    late = dice.sample(changes, 5)
    return [one for one in changes if one not in late] + late


def _change(dice: random.Random, house: House, record: str, number: int) -> Change:
    kind = dice.choices(["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE"], [6, 6, 2, 1, 1])[0]
    body: dict[str, Any] = {}
    if kind in {"CREATE", "UNDELETE"}:
        body = WHOLE | {"name": f"Ann {number}", "attributes": {"roof": number}}
    elif kind == "UPDATE":
        body = dice.choice(
            [
                {"email": f"a{number}@example.com", "priority": number},
                {"city": f"Town {number}"},
                {"lat": 41.0, "lon": -75.0 - number / 100},
                {"lat": 91.0, "lon": 0.0},
                {"is_converted": True},
                {"country": "Atlantis"},
            ]
        )
    at = NOON + timedelta(seconds=number)
    return house.change(record, kind, number=number, at=at, body=body, event_id=f"{record}-{number}")


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_ends_as_its_events_one_by_one(house: House, seed: int) -> None:
    together = house.store(story(random.Random(seed), house, "A"))
    house.leads.intake(together, read)
    # One by one is in the order of Salesforce's commits: that is the order in which a batch is read.
    alone = story(random.Random(seed), house, "B")
    for change in sorted(alone, key=lambda one: one.commit_number):
        house.leads.intake(house.store([change]), read)
    for sql in (MEANT, KEPT):
        assert house.rows(sql, which="00QA%") == house.rows(sql, which="00QB%")
    assert house.rows("SELECT 1 FROM events WHERE state = 'pending'") == []


def test_a_lead_goes_from_its_event_to_its_offer_in_one_run(house: House) -> None:
    house.member("near", 40.01, capacity=50)
    house.geography.cities["Town"] = city(40.0, -75.0)
    journey = replace(house.journey, at_once=("route", "locate"))
    here, there = (
        house.change("00Q000000000000001", body=WHOLE),
        house.change("00Q000000000000002", body={"country": "US", "city": "Town"}),
    )
    counts = journey.intake(house.store([here, there]), task_id="task-1")
    assert (counts["new"], counts["located"], counts["offered"]) == (2, 1, 2)
    assert house.log == []
    steps = house.rows("SELECT DISTINCT what, task_id FROM timeline ORDER BY what")
    assert [tuple(step) for step in steps] == [("located", "task-1"), ("offered", "task-1"), ("received", "task-1")]

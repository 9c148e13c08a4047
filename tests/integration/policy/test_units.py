"""Managers who are in charge of some units only (row M12)."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing.offer import Actor
from routing.versions import NotYours
from tests.integration.policy.conftest import COMMAND_LINE, Press, of_two_units
from tests.integration.routing.house import House

#: A file of leads, of both units.
LEADS = [("US", 40.0 + n / 500) if n % 2 else ("AU", -33.0 - n / 500) for n in range(24)]


def with_change(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    made = deepcopy(of_two_units())
    change(made)
    return made


def route_the_file(house: House, name: str) -> None:
    for n, (country, lat) in enumerate(LEADS):
        lon = -75.0 if country == "US" else 151.0
        house.lead(f"{name}-{n}", lat, lon, country=country)
    house.work()


def decided(house: House, name: str, market: str) -> list[tuple[Any, ...]]:
    """What was decided for the leads of the file in one unit, without numbers that count on."""
    rows = house.rows(
        "SELECT split_part(l.salesforce_id, '-', 2) AS lead, d.pool, d.chosen, d.reason, d.member, d.distance_m, "
        "d.gate, d.weight, d.capacity FROM decisions d JOIN leads l ON l.id = d.lead_id "
        "WHERE l.salesforce_id LIKE :name AND d.market = :market ORDER BY l.id",
        name=f"{name}-%",
        market=market,
    )
    return [tuple(row) for row in rows]


def test_M12_the_other_units_decisions_on_the_same_file_are_the_same_before_and_after(press: Press) -> None:
    house, publisher = press.house, press.publisher()
    by_distance = with_change(lambda made: made["pools"][0].update(mode="nearest"))  # whatever was routed before
    publisher.publish_document(by_distance, by=COMMAND_LINE)
    for n in range(4):
        house.member(f"us-{n}", 40.0 + n / 100, capacity=50)
        house.member(f"au-{n}", -33.0 - n / 100, 151.0, capacity=50)
    house.run("UPDATE members SET market = 'south' WHERE key LIKE 'au-%'")
    house.run("UPDATE markets SET roster_version = roster_version + 1")
    route_the_file(house, "before")
    take_all_back(house)
    ann = press.manager("Ann", "south")
    changed = deepcopy(by_distance)
    changed["pools"][1].update(mode="cursor", rings={"unit": "km", "radii": [2]})
    publisher.publish_document(changed, by=ann)
    route_the_file(house, "after")
    before, after = (decided(house, name, "main") for name in ("before", "after"))
    assert len(before) == len(LEADS) // 2
    assert before == after
    assert decided(house, "before", "south") != decided(house, "after", "south")


def take_all_back(house: House) -> None:
    """Nobody holds anything, as before the file was routed."""
    for row in house.rows("SELECT id FROM offers WHERE ended_at IS NULL"):
        house.desk.rescind(row.id, "test", then="hold", actor=Actor.MANAGER)
    house.work()


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        (lambda made: made["pools"][0].update(reassignments=1), "the pool installers"),
        (lambda made: made["pools"].pop(0), "the pool installers"),
        (lambda made: made["default_tier"].update(capacity=6), "default_tier, which every unit shares"),
        (lambda made: made["tiers"].pop(), "tiers, which every unit shares"),
        (lambda made: made.update(sensitive=True), "sensitive, which every unit shares"),
        (lambda made: made["pools"][1].update(countries=["AU", "NZ"]), "leads from NZ, which go to installers now"),
        (lambda made: made["pools"].pop(1), "leads from AU, which go to antipodes now"),
        (lambda made: made["pools"][1].update(market="main"), "the pool antipodes"),
        (
            lambda made: made["pools"].append(made["pools"][1] | {"name": "more", "countries": ["NZ"]}),
            "leads from NZ, which go to installers now",
        ),
    ],
)
def test_M12_a_manager_of_one_unit_changes_nothing_of_another(
    press: Press, change: Callable[[dict[str, Any]], object], touched: str
) -> None:
    publisher, ann = press.publisher(), press.manager("Ann", "south")
    publisher.publish_document(of_two_units(), by=COMMAND_LINE)
    document = with_change(change)
    draft = publisher.draft(document, by=ann).version
    later = datetime.now(UTC) + timedelta(hours=1)
    ways: list[Callable[[], object]] = [
        lambda: publisher.publish_document(document, by=ann),
        lambda: publisher.publish(draft, by=ann),
        lambda: publisher.publish(draft, by=ann, replacing=2),
        lambda: publisher.schedule(draft, later, by=ann),
        lambda: publisher.approve(draft, by=ann),
        lambda: publisher.rollback(1, by=ann),
    ]
    for way in ways[:-1]:
        with pytest.raises(NotYours) as refused:
            way()
        assert touched in str(refused.value)
        assert "You are in charge of south" in str(refused.value)
    with pytest.raises(NotYours):
        ways[-1]()
    assert publisher.policies.in_force() == 2
    everything = press.manager("Bob")
    publisher.approve(draft, by=everything)
    assert publisher.publish(draft, by=everything).version == draft


def test_M12_a_manager_of_one_unit_changes_its_own_pools(press: Press) -> None:
    publisher, ann, pat = press.publisher(), press.manager("Ann", "south"), press.manager("Pat", "installers")
    publisher.publish_document(of_two_units(), by=COMMAND_LINE)
    made = publisher.publish_document(with_change(lambda one: one["pools"][1].update(reassignments=1)), by=ann)
    assert made.published_by == "Ann"
    with pytest.raises(NotYours, match="the pool antipodes"):
        publisher.publish_document(of_two_units(), by=pat)
    back = publisher.rollback(2, by=ann)
    assert (back.restores, back.published_by) == (2, "Ann")

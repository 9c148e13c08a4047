"""I9: an import beside people who ask today."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from routing.lane import Flows, Lane
from tests.integration.routing.house import House

IMPORTED, LIVE, AT_ONCE = 1_000, 60, 100
LIMIT = 50
PARTNERS = 12


class Workers:
    """One worker for imports and one for everybody else, each with its own queues, taking turns in one thread."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.queues: dict[Lane, list[tuple[str, list[int]]]] = {lane: [] for lane in Lane}
        house.journey = replace(house.journey, announce=self.announce)
        self.verbs: dict[str, Callable[[list[int]], object]] = {
            "leads.intake": house.journey.intake,
            "leads.route": house.journey.route,
        }

    def announce(self, task: str, ids: Any, lane: Lane = Lane.LIVE, /) -> None:
        self.queues[lane] += [(task, list(ids[n : n + AT_ONCE])) for n in range(0, len(ids), AT_ONCE)]

    def take(self, *lanes: Lane) -> bool:
        """Work on the first message of the first of these lanes that has one."""
        for lane in lanes:
            if self.queues[lane]:
                task, ids = self.queues[lane].pop(0)
                self.verbs[task](ids)
                return True
        return False


def import_beside_people(house: House, workers: Workers) -> None:
    flows = Flows(per_minute=LIMIT, hot_from=1, priority=["priority"], source=["source"], clock=lambda: 30.0)
    people = iter(range(LIVE))

    def arrive(user: str, records: list[str], **more: Any) -> None:
        body = {"lat": 40.0, "lon": -75.0, "country": "US", "city": "Town"} | more
        changes = [house.change(record, body=body, commit_user=user) for record in records]
        lanes = [flows.lane(c.commit_user, c.origin, c.body) for c in changes]
        ids = house.store([replace(c, lane=lane) for c, lane in zip(changes, lanes, strict=True)])
        for lane, mine in house.events.by_lane(ids).items():
            workers.announce("leads.intake", mine, lane)

    for at in range(0, IMPORTED, AT_ONCE):
        arrive("import", [f"00Q1{n:014}" for n in range(at, at + AT_ONCE)])
    busy = True
    while busy:
        busy = workers.take(Lane.BULK)
        if (n := next(people, None)) is not None:
            arrive("people", [f"00Q2{n:014}"], source="Web", **({"priority": 5} if n % 10 == 0 else {}))
        busy |= workers.take(Lane.HOT, Lane.LIVE)


@pytest.fixture
def finished(house: House) -> House:
    for n in range(PARTNERS):
        house.member(f"m{n}", 40.01, capacity=500)
    import_beside_people(house, Workers(house))
    return house


def test_I9_an_import_waits_behind_people_misses_nobody_and_floods_no_partner(finished: House) -> None:
    house = finished
    assert house.value("SELECT count(*) FROM leads WHERE state = 'offered'") == IMPORTED + LIVE
    lanes = Counter(
        {Lane(row.lane): row.n for row in house.rows("SELECT lane, count(*) AS n FROM leads GROUP BY lane")}
    )
    hot = math.ceil(LIVE / 10)
    # The first of an import are taken for people's; so are people beyond what one flow may bring.
    assert lanes[Lane.HOT] == hot
    assert lanes[Lane.BULK] == IMPORTED - LIMIT + max(0, LIVE - hot - LIMIT)
    overtaken = house.rows("""
        SELECT count(b.lead_id) AS n FROM leads l
        JOIN events e ON e.record_id = l.salesforce_id
        JOIN decisions d ON d.lead_id = l.id
        LEFT JOIN (SELECT d.lead_id, d.at FROM decisions d JOIN leads b ON b.id = d.lead_id WHERE b.lane = 2) b
            ON b.at > e.received_at AND b.at < d.at
        WHERE l.lane < 2 AND l.salesforce_id LIKE '00Q2%' GROUP BY l.id ORDER BY n
    """)
    assert overtaken[-1].n <= 3 * AT_ONCE, "a person waited for more than the batches that were being worked on"
    assert worst_turns(house) <= (PARTNERS - 1) / 2
    assert house.value("SELECT count(*) FROM runs") == 0


def worst_turns(house: House) -> float:
    """The farthest that received - entitled ever was for any partner, at any moment."""
    balance: dict[int, Fraction] = {}
    worst = Fraction(0)
    seen = "SELECT chosen, member, weight, gate FROM decisions WHERE chosen IS NOT NULL ORDER BY generation, seq"
    for row in house.rows(seen):
        eligible = [(m, w) for m, w, gate in zip(row.member, row.weight, row.gate, strict=True) if gate == 0]
        weights = sum(w for _, w in eligible)
        for member, weight in eligible:
            balance[member] = balance.get(member, Fraction(0)) - Fraction(weight, weights) + (member == row.chosen)
            worst = max(worst, abs(balance[member]))
    return float(worst)


def test_I9_a_message_of_one_lane_takes_no_company_from_another(house: House) -> None:
    ids = {
        lane: house.store([house.change(f"00Q{int(lane)}{n:014}", body={}, lane=lane) for n in range(5)])
        for lane in Lane
    }
    runs = house.journey.runs
    assert set(runs.begin("intake", ids[Lane.LIVE][:1]).rows) == {*ids[Lane.HOT], *ids[Lane.LIVE]}
    assert set(runs.begin("intake", ids[Lane.BULK][:1]).rows) == {*ids[Lane.BULK]}

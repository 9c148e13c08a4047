"""Deadlines of many open offers, by real processes: never early, each once, and the next member is asked (row O2).

With OFFERS=10000 it measures as well how late they are: `make proofs PROOFS=deadlines`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.routing.house import House
from tests.integration.routing.test_outage import until, workers
from tests.integration.routing.test_races import lay_out

OFFERS = int(os.environ.get("OFFERS", "120"))
#: All deadlines pass within this time, evenly.
SPREAD_S = int(os.environ.get("SPREAD_S", "4"))
#: So many are laid out by one statement.
PART = 1000
#: From when the promises are measured; fewer say nothing about a machine.
MEASURED = 5000
LATE_S, NEXT_S = 2.0, 5.0


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    yield made
    assert made.breaches() == {}
    made.close()


@pytest.mark.timeout(300 + SPREAD_S * 10)  # a worker starts, on a machine that may be busy
def test_O2_O11_deadlines_end_offers_once_and_never_early_and_reminders_go_before(house: House, tmp_path: Path) -> None:
    one, two = house.member("one", capacity=OFFERS + 1), house.member("two", 40.01, capacity=OFFERS + 1)
    for done in range(0, OFFERS + 1, PART):
        lay_out(house, one, min(PART, OFFERS + 1 - done), first=done + 1)
    first, *others = [row.id for row in house.rows("SELECT id FROM offers ORDER BY lead_id")]
    with workers(house, tmp_path):
        house.run("UPDATE offers SET expires_at = clock_timestamp() WHERE id = :id", id=first)
        until(lambda: house.value("SELECT state = 'expired' FROM offers WHERE id = :id", id=first), tmp_path)
        house.run(
            "UPDATE offers SET offered_at = now() - interval '2 s', remind_at = now() + s.wait - interval '1 s', "
            "expires_at = now() + s.wait FROM (SELECT id AS one, "
            "interval '3 s' + make_interval(secs => :spread) * row_number() OVER (ORDER BY lead_id) / :n AS wait "
            "FROM offers WHERE state = 'offered' AND member_id = :member) s WHERE id = s.one",
            spread=SPREAD_S, n=OFFERS, member=one,
        )  # fmt: skip
        ended = "SELECT count(*) FROM offers WHERE state = 'expired'"
        until(lambda: house.value(ended) == OFFERS + 1, tmp_path)
        asked = "SELECT count(*) FROM offers WHERE member_id = :two"
        until(lambda: house.value(asked, two=two) == OFFERS + 1, tmp_path)
    assert house.value("SELECT min(ended_at - expires_at) >= interval '0' FROM offers WHERE id = ANY(:ids)", ids=others)
    once = "SELECT count(*) AS n FROM timeline WHERE what = 'expired' GROUP BY detail ->> 'offer'"
    assert [row.n for row in house.rows(once)] == [1] * (OFFERS + 1)
    told = [row.what for row in house.rows("SELECT what FROM notices WHERE member_id = :one", one=one)]
    assert told.count("offer.expired") == OFFERS + 1
    assert told.count("offer.reminder") <= OFFERS
    late = """
        SELECT count(*) FROM notices r JOIN offers o ON o.id = r.offer_id
        WHERE r.what = 'offer.reminder' AND r.at >= o.ended_at
    """
    assert house.value(late) == 0
    if OFFERS >= MEASURED:
        measure(house, others)


def measure(house: House, offers: list[object]) -> None:
    row = house.rows(
        """
        SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY late) AS late,
               percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY next) AS next
        FROM (
            SELECT extract(epoch FROM o.ended_at - o.expires_at) AS late,
                   extract(epoch FROM n.offered_at - o.ended_at) AS next
            FROM offers o LEFT JOIN offers n ON n.lead_id = o.lead_id AND n.attempt = o.attempt + 1
            WHERE o.id = ANY(:ids)
        ) seconds
        """,
        ids=offers,
    )[0]
    print(f"{len(offers)} deadlines in {SPREAD_S} s: p50, p99, most: late {row.late} s, next {row.next} s")  # noqa: T201
    assert row.late[1] <= LATE_S
    assert row.next[1] <= NEXT_S

"""What must never be, looked at all the time and shown to everybody."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa

from config import wiring
from routing.offer import Actor
from storage.postgres import invariants as module
from storage.postgres.engine import transaction
from storage.postgres.invariants import TURNSTILE, Invariants
from storage.postgres.quota_recount import VIEW
from tests.integration.routing.house import House
from web import main
from workers import house as processes


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    yield made
    made.close()


class Web:
    """A caller from elsewhere."""

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._get(path))

    async def _get(self, path: str) -> httpx.Response:
        caller = httpx.ASGITransport(main.app(), client=("192.0.2.7", 50000))
        async with httpx.AsyncClient(transport=caller, base_url="http://elsewhere.example") as client:
            return await client.get(path)


@pytest.fixture
def web(house: House) -> Iterator[Web]:
    with processes.pointed_at(
        {"DATABASE_URL": house.database_url, "REDIS_URL": house.redis_url, "FAIRTURN_TURNSTILE_URL": house.redis_url}
    ):
        yield Web()
        wiring.forget()


def found(house: House) -> dict[str, int]:
    return {one.name: one.violations for one in Invariants(house.engine).all() if one.violations}


def again(house: House) -> None:
    """Let the last look be a minute ago."""
    house.run("UPDATE invariants SET checked_at = checked_at - interval '1 minute'")


def offered(house: House, count: int = 3) -> list[int]:
    house.member("near", 40.01, capacity=10)
    leads = [house.lead(f"00Q000000000{n:06}") for n in range(count)]
    house.work()
    return leads


BREACHES = {
    "open_miscounted": "UPDATE members SET open = open + 1",
    "outside_area": "UPDATE offers SET distance_m = 999999 WHERE attempt = 1",
    "lead_without_offer": "UPDATE leads SET state = 'accepted', updated_at = clock_timestamp()",
}


@pytest.mark.parametrize("name", BREACHES)
def test_N11_a_breach_made_by_hand_is_found_by_the_next_look(house: House, name: str) -> None:
    offered(house)
    assert Invariants(house.engine).check() == 0
    by_hand(house, BREACHES[name])
    again(house)
    assert Invariants(house.engine).check() > 0
    assert name in found(house)


def test_N11_views_that_take_long_are_looked_at_from_their_last_check_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(house)
    Invariants(house.engine).check()
    monkeypatch.setattr(module, "QUICK_MS", -1.0)
    house.run("UPDATE invariants SET took_ms = 0.001")
    with transaction(house.engine) as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text("UPDATE offers SET distance_m = 999999"))
    again(house)
    Invariants(house.engine).check()
    assert found(house) == {"outside_area": 3}
    assert house.value("SELECT count(*) FROM invariants WHERE whole_at < checked_at") >= 5
    house.run("UPDATE offers SET distance_m = 1, offered_at = offered_at - interval '1 day'")
    again(house)
    Invariants(house.engine).check()
    assert found(house) == {"outside_area": 3}, "what was seen stays until all of history is looked at again"
    house.run("UPDATE invariants SET whole_at = whole_at - interval '1 day'")
    again(house)
    Invariants(house.engine).check()
    assert found(house) == {}


def limited(house: House) -> str:
    """Three offers that count in limits by the day, one of them turned down; a counter that it was given back in."""
    limits = [{"of": "member", "most": 9, "per": "day"}, {"of": "member", "most": 8, "per": "week", "counts": "kept"}]
    house.publish(limits=limits)
    leads = offered(house)
    house.desk.reject(house.offer(leads[0]), "too_far", actor=Actor.MANAGER)
    house.tick()
    counter = house.value("SELECT counter FROM quota_uses WHERE counter LIKE 'kept/%' AND used = 2")
    return str(counter)


def look(house: House) -> list[str]:
    again(house)
    Invariants(house.engine).check()
    return [told for one in Invariants(house.engine).all() if one.name == VIEW for told in one.examples]


def by_hand(house: House, statement: str) -> None:
    """Change what is never changed."""
    with transaction(house.engine) as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(statement))


def test_N11_what_is_used_of_limits_is_recounted_from_what_is_new_and_wholly_once_an_hour(house: House) -> None:
    counter = limited(house)
    assert look(house) == []
    house.run("UPDATE quota_recounted SET upto = clock_timestamp() - interval '1 day'")  # all of it is new, again
    house.run("DELETE FROM quota_recounts")
    assert look(house) == []
    told = house.rows("SELECT upto, whole_at FROM quota_recounted")[0]
    house.run("UPDATE quota_uses SET used = used + 1 WHERE counter = :counter", counter=counter)
    assert [counter in one and "counts 3, holds 2" in one for one in look(house)] == [True]
    house.run("UPDATE quota_uses SET used = used - 1 WHERE counter = :counter", counter=counter)
    assert look(house) == []
    by_hand(house, "UPDATE decisions SET at = at - interval '10 minutes'")
    house.run("DELETE FROM quota_recounted")
    assert look(house) == []
    by_hand(house, "UPDATE decisions SET units = 2 WHERE id = (SELECT id FROM offers WHERE state = 'offered' LIMIT 1)")
    assert look(house) == [], "an old row, which no look at what is new can see"
    house.run("UPDATE quota_recounted SET whole_at = whole_at - interval '2 hours'")
    assert len(look(house)) == 2
    assert house.rows("SELECT whole_at FROM quota_recounted")[0].whole_at > told.whole_at


def test_N11_everybody_sees_the_panel_and_it_names_nobody(house: House, web: Web) -> None:
    leads = offered(house)
    assert wiring.audit() == 0
    assert wiring.invariants().check() == 0
    answer = web.get("/api/v1/invariants")
    assert answer.status_code == 200
    told = answer.json()
    assert told["violations"] == 0
    names = {one["name"] for one in told["invariants"]}
    assert {"over_capacity", "repeat_member", "too_many_attempts", "outside_area", "no_reason", TURNSTILE} <= names
    assert all(one["meaning"] and one["checked_at"] for one in told["invariants"])
    with transaction(house.engine) as connection:
        connection.execute(sa.text("UPDATE members SET open = open + 1"))
    again(house)
    wiring.invariants().check()
    page = web.get("/invariants")
    assert page.status_code == 200
    assert "1 violations, over all history" in page.text
    for private in ("near", "00Q000", f"lead {leads[0]}"):
        assert private not in page.text
        assert private not in web.get("/api/v1/invariants").text


def test_N11_the_panel_of_a_new_house_says_that_nothing_was_looked_at(web: Web) -> None:
    assert "Nothing was looked at yet" in web.get("/invariants").text

"""`fairturn turns` and the API beside it: how far everyone is from what is due to it, and who may miss its minimum."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import CliRunner

from config import wiring
from storage.postgres.export import Export
from storage.postgres.followed import FollowedAccounts
from tests.e2e.recount import accounts as recounted
from tests.integration.routing.house import MARKET, House, document
from web import main
from workers import house as processes
from workers.cli import cli


@pytest.fixture
def routed(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    for n, weight in enumerate((1000, 2000, 4000)):
        made.member(f"m{n}", 40.01, capacity=100, weight=weight)
    for n in range(5):
        made.lead(f"00Q00000000000000{n}")
    made.work()
    yield made
    assert made.breaches() == {}
    made.close()


def get(house: House, path: str, *, at: str = "127.0.0.1") -> httpx.Response:
    """What the web process answers; to whoever is on the same machine all that operators may see."""

    async def ask() -> httpx.Response:
        way = httpx.ASGITransport(main.app(), client=(at, 50000))
        async with httpx.AsyncClient(transport=way, base_url="http://127.0.0.1") as caller:
            return await caller.get(path)

    where = {"DATABASE_URL": house.database_url, "REDIS_URL": house.redis_url}
    with processes.pointed_at(where | {"FAIRTURN_TURNSTILE_URL": house.redis_url}):
        try:
            return asyncio.run(ask())
        finally:
            wiring.forget()


def fairturn(house: House, *words: str) -> str:
    """What the command prints."""
    where = {"DATABASE_URL": house.database_url, "REDIS_URL": house.redis_url}
    with processes.pointed_at(where | {"FAIRTURN_TURNSTILE_URL": house.redis_url, "COLUMNS": "200"}):
        try:
            told = CliRunner().invoke(cli, words, catch_exceptions=False)
        finally:
            wiring.forget()
    assert told.exit_code == 0, told.output
    return told.stdout


def test_N1_the_command_and_the_api_show_the_worst_value_the_bound_and_a_recount_agrees(routed: House) -> None:
    told = fairturn(routed, "turns", "show", "--pool", "installers", "--json")
    [shown] = json.loads(told)
    [(members, worst, decisions)] = recounted(Export(routed.engine).decisions()).values()
    assert (shown["decisions"], round(shown["worst_ever"] * 1e6), shown["bound"]) == (decisions, worst, 1.0)
    assert {a["member"]: round(-a["deviation"] * 1e6) for a in shown["accounts"]} == {
        m: a.owed for m, a in members.items()
    }
    words = fairturn(routed, "turns", "show")
    assert "bound 1" in words
    assert "worst now" in words
    body = get(routed, "/api/v1/fairness?pool=installers").json()
    assert [one | {"worst_at": None} for one in body["rotations"]] == [shown | {"worst_at": None}]
    assert get(routed, "/api/v1/fairness?pool=nobodys").json() == {"rotations": []}
    assert get(routed, "/api/v1/fairness", at="192.0.2.7").status_code in {401, 403}


def test_F4_a_shared_rotation_is_shown_for_each_pool_that_takes_part(routed: House) -> None:
    made = document(scope="shared", rotation="all", tiers="ranked", countries=["US"])
    other = dict(made["pools"][0], name="others", countries=["DE"])
    routed.publish_document(made | {"pools": [made["pools"][0], other]})
    routed.lead("00Q000000000000009")
    routed.work()
    of_both = [
        [
            one
            for one in json.loads(fairturn(routed, "turns", "show", "--json", "--pool", pool))
            if one["rotation"] != pool
        ]
        for pool in ("installers", "others")
    ]
    assert of_both[0] == of_both[1]
    [shown] = of_both[1]
    assert (shown["rotation"].startswith("all"), shown["decisions"]) == (True, 1)
    [told] = get(routed, "/api/v1/fairness?pool=others").json()["rotations"]
    assert told["rotation"] == shown["rotation"]


def test_N1_the_public_panel_shows_worst_value_and_bound_and_names_nobody(routed: House) -> None:
    FollowedAccounts(routed.engine).follow(MARKET)
    page = get(routed, "/invariants", at="192.0.2.7").text
    [shown] = FollowedAccounts(routed.engine).of()
    cells = ["installers", "3", "5", f"{shown.worst_now:.3f}", f"{shown.worst_ever:.3f}", "1.000"]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert "m0" not in page


def test_C11_the_command_lists_who_may_miss_its_minimum(routed: House) -> None:
    assert fairturn(routed, "turns", "minimums").strip() == "Nobody is on the way to miss its minimum."
    member, until = routed.value("SELECT min(id) FROM members"), datetime.now(UTC) + timedelta(days=5)
    routed.run(
        "INSERT INTO minimum_flags (pool, member_id, period, market, received, projected, minimum, until) "
        "VALUES ('installers', :member, '2026-11', 'main', 3, 4.5, 10, :until)",
        member=member,
        until=until,
    )
    [flag] = json.loads(fairturn(routed, "turns", "minimums", "--json"))
    assert (flag["pool"], flag["member"], flag["received"], flag["projected"], flag["minimum"]) == (
        "installers", "m0", 3, 4.5, 10,
    )  # fmt: skip

"""Z2: who is inactive in Salesforce gets no leads, and what it was asked goes to others."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateways.salesforce.auth import TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from routing.leavers import Leavers, activity
from storage.postgres.leavers import LeaverRows
from tests.integration.routing.house import House
from tests.sandbox_fixture import SandboxOrg


@pytest.fixture
def house(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    yield made
    made.close()


@pytest.fixture
def leavers(house: House, salesforce: Salesforce) -> Leavers:
    return watch(house, salesforce)


def watch(house: House, salesforce: Salesforce, mapping: FieldMap | None = None, calls: int | None = None) -> Leavers:
    return Leavers(
        book=LeaverRows(house.engine),
        org=lambda: salesforce,
        desk=house.desk,
        kinds=activity((mapping or FieldMap.load()).activity),
        fill=lambda members: house.dispatcher.fill("main", members),
        calls_a_day=lambda: calls,
        every_s=0,
    )


def user(org: SandboxOrg, name: str) -> str:
    body = {"Username": f"{uuid4()}@org.invalid", "LastName": name}  # users outlive a reset
    return str(org.rest("POST", "sobjects/User", json=body).json()["id"])


def account(org: SandboxOrg, name: str) -> str:
    return str(org.rest("POST", "sobjects/Account", json={"Name": name}).json()["id"])


def offers(house: House) -> list[tuple[str, str, str | None]]:
    query = "SELECT m.key, o.state, o.reason FROM offers o JOIN members m ON m.id = o.member_id ORDER BY o.offered_at"
    return [tuple(row) for row in house.rows(query)]


@pytest.mark.parametrize("kind", ["user", "account"])
def test_Z2_a_member_who_was_deactivated_gets_nothing_more_and_its_pending_offer_moves_on(
    org: SandboxOrg, house: House, leavers: Leavers, kind: str
) -> None:
    make, path, field = {
        "user": (user, "User", "IsActive"),
        "account": (account, "Account", "Fairturn_Active__c"),
    }[kind]
    record = make(org, "Near")
    house.member("near", 40.01, salesforce_id=record)
    assert leavers.look() == {"left": 0, "returned": 0, "taken_back": 0}
    lead = house.lead("00Q000000000001AAA")
    house.work()
    far = house.member("far", 40.2)
    assert offers(house) == [("near", "offered", None)]

    org.rest("PATCH", f"sobjects/{path}/{record}", json={field: False})
    assert leavers.look() == {"left": 1, "returned": 0, "taken_back": 1}
    house.work()
    assert offers(house) == [("near", "withdrawn", "member_left"), ("far", "offered", None)]
    assert house.value("SELECT moves FROM leads") == 0
    assert house.holder(lead) == far
    second = house.lead("00Q000000000002AAA")
    house.work()
    assert house.holder(second) == far
    assert leavers.look() == {"left": 0, "returned": 0, "taken_back": 0}

    org.rest("PATCH", f"sobjects/{path}/{record}", json={field: True})
    assert leavers.look()["returned"] == 1
    third = house.lead("00Q000000000003AAA", lat=40.0)
    house.work()
    assert house.holder(third) not in {far, None}
    assert house.breaches() == {}


def test_Z2_what_was_accepted_stays_and_somebody_who_left_before_we_knew_is_found_by_its_id(
    org: SandboxOrg, house: House, leavers: Leavers
) -> None:
    gone, deleted = user(org, "Gone"), account(org, "Deleted")
    org.rest("PATCH", f"sobjects/User/{gone}", json={"IsActive": False})
    org.rest("DELETE", f"sobjects/Account/{deleted}")
    house.member("gone", 40.01, salesforce_id=gone)
    lead = house.lead("00Q000000000001AAA")
    house.work()
    house.desk.accept(house.offer(lead))
    house.member("deleted", 40.02, salesforce_id=deleted[:15])
    assert leavers.look() == {"left": 2, "returned": 0, "taken_back": 0}
    assert house.state(lead) == ("accepted", None)
    assert house.value("SELECT count(*) FROM audit WHERE action = 'members.left'") == 2


def test_Z2_looking_costs_one_call_a_kind_and_is_rare_where_calls_are_few(
    org: SandboxOrg, house: House, salesforce: Salesforce
) -> None:
    house.member("near", 40.01, salesforce_id=user(org, "Near"))
    house.member("other", 40.01)
    watch(house, salesforce).look()
    before = org.admin("GET", "state")["api_calls"]
    watch(house, salesforce).look()
    assert org.admin("GET", "state")["api_calls"] == before + 1
    watch(house, salesforce, calls=1000).look()
    assert org.admin("GET", "state")["api_calls"] == before + 1


def test_Z2_a_kind_that_is_not_mapped_or_not_there_is_not_looked_at(
    org: SandboxOrg, house: House, tokens: TokenProvider, tmp_path: Path
) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text("members: {user: null, account: No_Such__c}", "utf-8")
    mapping = FieldMap.load(file)
    house.member("near", 40.01, salesforce_id=account(org, "Near"))
    found = watch(house, Salesforce(tokens, mapping, ca_file=org.ca), mapping)
    assert found.look() == {"left": 0, "returned": 0, "taken_back": 0}

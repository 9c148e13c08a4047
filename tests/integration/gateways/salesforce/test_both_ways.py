"""B4, U4 and U6 over the real wires: what happens here is seen there, what people do there happens here, each once."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from gateways.countries import alpha2
from gateways.salesforce.auth import TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Batch, Endpoint, Idle, Stream
from routing.change import Change
from routing.errors import TryLater
from routing.intake import Folded, Sheet, fold
from routing.offer_records import OfferShower
from storage.postgres.gates import OrgGate
from storage.postgres.offer_records import OfferRecords
from storage.postgres.outbox import Outbox
from tests.integration.routing.house import MARKET, House
from tests.integration.routing.test_races import answers_to, until_heard
from tests.sandbox_fixture import TOPIC, SandboxOrg

PERSON = "ann@org.invalid"
PLACE = {"Latitude": 40.0, "Longitude": -75.0, "Country": "US", "City": "Town", "PostalCode": "19000"}


class Both:
    """A house that reads and writes a pretend org as the wiring has it, and people who work in the org."""

    def __init__(self, house: House, org: SandboxOrg, tokens: TokenProvider, mapping: FieldMap) -> None:
        self.house, self.org = house, org
        gate = OrgGate(house.engine, dice=lambda: 0.0)
        self.salesforce = Salesforce(tokens, mapping, ca_file=org.ca, gate=gate)
        self.mapping, self.user = mapping, tokens.token().user_id
        records = OfferRecords(house.engine, gate, dice=lambda: 0.0)
        house.outbox = Outbox(house.engine, gate, offers=True, dice=lambda: 0.0)
        house.outbound = replace(
            house.outbound,
            outbox=house.outbox,
            write=self.salesforce.write,
            offers=OfferShower(records, self.salesforce.write_offers).deliver,
        )
        house.journey = replace(house.journey, read=self._read, fetch=self.salesforce.read)
        self.stream = Stream(Endpoint(f"127.0.0.1:{org.grpc}", plaintext=True), TOPIC, tokens, tick_s=0.2)
        self.items = self.stream.items()
        form = {"grant_type": "password", "client_id": "a", "client_secret": "b", "username": PERSON, "password": "c"}
        granted = org.session.post(f"{org.login_url}/services/oauth2/token", data=form, timeout=10).json()
        self.token, self.person = granted["access_token"], granted["id"].rpartition("/")[2]

    def _read(self, change: Change, known: Sheet | None) -> Folded:
        by_us = self.mapping.is_by_us(change, client_name="Fairturn", user_id=self.user)
        echo = by_us and self.mapping.is_ours(change.changed)
        partial = self.mapping.says_too_little(change.body)
        fields = self.mapping.fields_of(change.body)
        return fold(known, change, fields, ours=echo, by_us=by_us, partial=partial, alpha2=alpha2)

    def settle(self) -> None:
        """Hear what there is to hear and do what there is to do, until nothing is left."""
        quiet = 0
        while quiet < 2:
            item = next(self.items)
            changes: Sequence[Change] = item.changes if isinstance(item, Batch) else ()
            if changes:
                self.house.journey.intake(self.house.store(changes))
            self.house.work()
            quiet = quiet + 1 if isinstance(item, Idle) and item.connected else 0

    def lead(self, **more: Any) -> str:
        [record] = self.org.create_leads({"LastName": "L", "Company": "C", **PLACE, **more}, client="web")
        self.settle()
        return record

    def edit(self, record: str, **fields: Any) -> None:
        """As a person does it, who is somebody else than the integration user."""
        answer = self.org.rest("PATCH", f"sobjects/Lead/{record}", json=fields, token=self.token)
        assert answer.status_code == 204, answer.text
        self.settle()

    def shown(self, record: str) -> dict[str, Any]:
        row = self.org.rest("GET", f"sobjects/Lead/{record}").json()
        names = ("Status", "Reason", "Outcome", "Offer_Reason", "Offers", "Partner", "Partner_Key")
        return {name: row[f"Fairturn_{name}__c"] for name in names} | {
            "times": [name for name in ("Answered", "Accepted", "Ended") if row[f"Fairturn_{name}_At__c"]]
        }

    def changes(self, record: str) -> int:
        """Times that we wrote the lead."""
        rows = self.org.admin("GET", "history", object="Lead")["changes"]
        return sum("client=Fairturn" in row["origin"] for row in rows if row["id"] == record)

    def records(self) -> list[tuple[Any, ...]]:
        rows = self.org.admin("GET", "records", object="Fairturn_Offer__c")["records"]
        names = ("Lead", "Partner_Key", "State", "Reason", "Kind", "Attempt")
        return sorted(
            (tuple(row[f"Fairturn_{name}__c"] for name in names) for row in rows), key=lambda row: (row[5], row[0])
        )


@pytest.fixture
def both(database_url: str, redis_url: str, org: SandboxOrg, tokens: TokenProvider) -> Iterator[Both]:
    house = House(database_url, redis_url)
    house.publish()
    made = Both(house, org, tokens, FieldMap.load())
    yield made
    made.stream.stop()
    assert house.breaches() == {}
    house.close()


@pytest.fixture
def partner(both: Both) -> str:
    """The account of the nearest member."""
    account = str(both.org.rest("POST", "sobjects/Account", json={"Name": "Near"}).json()["id"])
    both.house.member("near", 40.01, salesforce_id=account)
    return account


def test_B4_each_step_is_seen_in_salesforce_with_times_and_reasons_and_edits_there_are_done_here(
    both: Both, partner: str
) -> None:
    house = both.house
    both.house.member("far", 40.05)
    record = both.lead()
    lead = house.id_of(record)
    first = house.value("SELECT key FROM members m JOIN offers o ON o.member_id = m.id")
    assert both.shown(record) | {"Partner": None} == {
        "Status": "offered", "Reason": None, "Outcome": "offered", "Offer_Reason": None, "Offers": 1.0,
        "Partner": None, "Partner_Key": first, "times": [],
    }  # fmt: skip
    house.desk.reject(house.offer(lead), "too_far")
    both.settle()
    second = house.value("SELECT key FROM members m JOIN offers o ON o.member_id = m.id WHERE o.state = 'offered'")
    assert (second != first, both.shown(record)["Offers"], both.shown(record)["Partner_Key"]) == (True, 2.0, second)
    both.edit(record, Fairturn_Status__c="Accepted")
    assert house.state(lead) == ("accepted", None)
    shown = both.shown(record)
    assert (shown["Status"], shown["Outcome"], shown["times"]) == ("accepted", "accepted", ["Answered", "Accepted"])
    both.edit(record, Fairturn_Status__c="lost", Fairturn_Offer_Reason__c="no contact")
    shown = both.shown(record)
    assert (house.state(lead), shown["Status"], shown["Outcome"], shown["Offer_Reason"], shown["Partner_Key"]) == (
        ("done", None), "done", "lost", "no_contact", second,
    )  # fmt: skip
    assert shown["times"] == ["Answered", "Accepted", "Ended"]
    assert both.records() == [
        (record, first, "rejected", "too_far", "turn", 1.0),
        (record, second, "lost", "no_contact", "turn", 2.0),
    ]
    before = both.changes(record)
    both.settle()
    assert both.changes(record) == before  # our own writes coming back started nothing


def test_B4_after_an_outage_the_newest_state_is_written_once(both: Both, partner: str) -> None:
    house, record = both.house, both.lead()
    writes = both.changes(record)
    outage = both.org.fault("http", "answer", match={"path": "composite"}, count=None, args={"name": "unavailable"})
    assert outage
    house.desk.accept(house.offer(house.id_of(record)))
    for _ in range(2):
        with suppress(TryLater):
            house.work()
    house.desk.complete(house.offer(house.id_of(record)))
    both.org.admin("DELETE", "faults")
    house.run("UPDATE gates SET open_until = NULL, probe_until = NULL, failures = 0")
    house.run("UPDATE outbox SET due_at = clock_timestamp(), lease_until = NULL WHERE state = 'pending'")
    house.wanted += ["outbox.deliver"]
    both.settle()
    assert (both.shown(record)["Status"], both.changes(record)) == ("done", writes + 1)
    assert [row[2] for row in both.records()] == ["completed"]


def test_B4_an_edit_that_cannot_be_is_put_right_again(both: Both, partner: str) -> None:
    record = both.lead()
    both.edit(record, Fairturn_Status__c="completed", Fairturn_Partner_Key__c="nonsense")
    assert (both.shown(record)["Status"], both.shown(record)["Partner_Key"]) == ("offered", "near")


def test_B4_our_own_writes_start_nothing_although_nothing_says_that_they_are_ours(both: Both) -> None:
    both.org.admin("POST", "options", {"call_options_in_collections": False})
    both.user = ""
    users = [_user(both) for _ in range(2)]
    for n, one in enumerate(users):
        both.house.member(f"rep{n}", 40.01, salesforce_id=one)
    record = both.lead()
    lead = both.house.id_of(record)
    both.house.desk.reject(both.house.offer(lead), "other")  # before the write of the first offer comes back
    both.house.work()
    both.settle()
    states = both.house.rows("SELECT state, kind FROM offers ORDER BY offered_at")
    assert [tuple(row) for row in states] == [("rejected", "turn"), ("offered", "turn")]
    assert both.house.story(lead).count("edit refused") == 0


def _user(both: Both) -> str:
    body = {"Username": f"{uuid4()}@org.invalid", "LastName": "Rep"}
    return str(both.org.rest("POST", "sobjects/User", json=body).json()["id"])


def test_U4_a_person_gives_a_lead_to_a_colleague_and_then_to_a_partner(both: Both, partner: str) -> None:
    record = both.lead()
    lead = both.house.id_of(record)
    both.edit(record, OwnerId=both.person)
    assert both.house.state(lead) == ("withdrawn", "owned")
    shown = both.shown(record)
    assert (shown["Status"], shown["Reason"], shown["Partner"], shown["Outcome"]) == (
        "withdrawn", "owned", None, "withdrawn",
    )  # fmt: skip
    both.edit(record, Fairturn_Partner__c=partner)
    shown = both.shown(record)
    assert (shown["Status"], shown["Partner"], shown["Partner_Key"]) == ("accepted", partner, "near")
    assert [row[2:5] for row in both.records()] == [("withdrawn", "owned", "turn"), ("accepted", None, "manual")]
    held = {row.id: row.open for row in both.house.rows("SELECT id, open FROM members WHERE open > 0")}
    assert both.house.turnstile.open_counts(MARKET) == held


def test_U6_converted_merged_deleted_and_restored_each_ends_its_offer_once(both: Both, partner: str) -> None:
    house, org = both.house, both.org
    converted, loser, winner, gone = (both.lead() for _ in range(4))
    house.desk.accept(house.offer(house.id_of(converted)))
    both.settle()
    org.admin("POST", "convert", {"leadId": converted})
    org.admin("POST", "absorb", {"master": winner, "losers": [loser]})
    org.rest("DELETE", f"sobjects/Lead/{gone}", token=both.token)
    both.settle()
    states = [house.state(house.id_of(one)) for one in (converted, loser, winner, gone)]
    assert states == [
        ("done", None), ("withdrawn", "deleted"), ("offered", None), ("withdrawn", "deleted"),
    ]  # fmt: skip
    assert house.turnstile.open_counts(MARKET) == {1: 1}
    org.admin("POST", "undelete", {"ids": [gone]})
    both.settle()
    assert house.state(house.id_of(gone)) == ("review", "everyone_tried")
    assert house.value("SELECT attempt FROM leads WHERE salesforce_id = :r", r=gone) == 2
    assert house.value("SELECT count(*) FROM parked") == 0


def test_O6_of_a_thousand_answers_at_once_salesforce_shows_the_one_owner_that_the_ledger_has(
    both: Both, partner: str
) -> None:
    house, record = both.house, both.lead()
    lead, near = house.id_of(record), int(house.value("SELECT id FROM members WHERE key = 'near'"))
    house.member("far", 40.05)
    crowded = House(house.database_url, house.redis_url, connections=20)
    kinds = answers_to(crowded, house.offer(lead), near)
    calls = [random.choice(kinds) for _ in range(1000)]
    with ThreadPoolExecutor(20) as pool:
        heard = list(pool.map(until_heard, calls))
    crowded.close()
    assert sum(said.startswith("won ") for said in heard) == 1
    house.aged()
    house.tick()
    both.settle()
    holder = house.value(
        "SELECT (SELECT m.key FROM offers o JOIN members m ON m.id = o.member_id"
        " WHERE o.lead_id = :lead AND o.state IN ('offered', 'accepted'))",
        lead=lead,
    )
    shown = both.shown(record)
    assert (shown["Partner_Key"], shown["Status"]) == (holder, house.state(lead)[0])
    assert (shown["Partner"] == partner) == (holder == "near")
    rows = both.org.admin("GET", "history", object="Lead")["changes"]
    owners = [row["values"]["Fairturn_Partner_Key__c"] for row in rows if "Fairturn_Partner_Key__c" in row["values"]]
    assert list(dict.fromkeys(owners)) == list(dict.fromkeys(["near", holder]))

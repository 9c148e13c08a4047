"""M4 over the real wires: leads that are none of ours are as if we were not there, field by field."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateways.salesforce.auth import TokenProvider
from gateways.salesforce.mapping import FieldMap
from routing.entry import at_the_door
from tests.integration.gateways.salesforce.test_both_ways import PLACE, Both
from tests.integration.routing.house import House
from tests.integration.routing.test_special_cases import ruled, when
from tests.sandbox_fixture import SandboxOrg

#: What Salesforce itself changes when a person edits a record.
STAMPS = {"SystemModstamp", "LastModifiedDate", "LastModifiedById"}


@pytest.fixture
def both(database_url: str, redis_url: str, org: SandboxOrg, tokens: TokenProvider) -> Iterator[Both]:
    house = House(database_url, redis_url)
    rival = when("rivals", 'lead.source == "Rival"', ignore=True)
    spam = when("spam", 'lead.source == "Spam"', quarantine=True)
    entry = {"queues": [tokens.token().user_id], "when": 'lead.source in ["Web", "Rival", "Spam"]'}
    house.publish_document(ruled(rival, spam, entry=entry))
    house.member("near", 40.01)
    made = Both(house, org, tokens, FieldMap.load())
    house.journey = replace(house.journey, read=at_the_door(made._read, house.door))
    yield made
    made.stream.stop()
    assert house.breaches() == {}
    house.close()


def whole(both: Both, record: str) -> dict[str, Any]:
    row: dict[str, Any] = both.org.rest("GET", f"sobjects/Lead/{record}").json()
    return row


def test_M4_only_leads_of_our_queues_or_that_pass_the_filter_are_written_all_others_field_by_field_unchanged(
    both: Both,
) -> None:
    queue, somebody = both.user, both.person  # an owner is an owner, a queue or not
    others = {
        "another's": {"OwnerId": somebody, "LeadSource": "Fair"},
        "without an address": {
            "OwnerId": somebody,
            "Country": "",
            "City": "",
            "PostalCode": "",
            "Latitude": None,
            "Longitude": None,
        },
        "of no country": {"OwnerId": somebody, "Country": "Atlantis"},
        "ignored by a rule": {"OwnerId": somebody, "LeadSource": "Rival"},
    }
    made = {name: {"LastName": "L", "Company": "C", **PLACE, **more} for name, more in others.items()}
    records = dict(zip(made, both.org.create_leads(*made.values(), client="web"), strict=True))
    before = {name: whole(both, record) for name, record in records.items()}
    both.settle()
    both.house.tick()
    both.settle()
    for name, record in records.items():
        assert whole(both, record) == before[name], name
        assert both.changes(record) == 0, name
    for record in records.values():
        both.edit(record, Company="Another", Phone="555")
    for name, record in records.items():
        news = {field: value for field, value in whole(both, record).items() if field not in STAMPS}
        assert news == {f: v for f, v in before[name].items() if f not in STAMPS} | {
            "Company": "Another",
            "Phone": "555",
        }
        assert both.changes(record) == 0, name

    queued, web = both.lead(OwnerId=queue), both.lead(OwnerId=somebody, LeadSource="Web")
    spam = both.lead(OwnerId=somebody, LeadSource="Spam")
    assert [both.shown(record)["Status"] for record in (queued, web, spam)] == ["offered", "offered", "review"]
    assert both.shown(spam)["Reason"] == "quarantined"
    assert all(both.changes(record) == 1 for record in (queued, web, spam))

    both.edit(records["another's"], OwnerId=queue)
    assert both.shown(records["another's"])["Status"] == "offered"

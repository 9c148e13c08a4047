"""`fairturn offer`: a manager's hand on an offer."""

from collections.abc import Iterator

import pytest

from tests.command_line import fairturn
from tests.integration.routing.house import House


@pytest.fixture
def routed(database_url: str, redis_url: str) -> Iterator[House]:
    made = House(database_url, redis_url)
    made.publish()
    made.member("near", 40.01)
    made.member("far", 40.05)
    made.lead("00Q000000000000001")
    made.work()
    yield made
    assert made.breaches() == {}
    made.close()


def test_O7_a_manager_takes_an_offer_back_by_its_lead_and_hears_what_follows(routed: House) -> None:
    lead = routed.id_of("00Q000000000000001")
    before = routed.holder(lead)
    told = fairturn(routed, "offer", "rescind", "00Q000000000000001", "--reason", "complaint")
    assert (told.returncode, told.stdout.strip()) == (
        0, "The offer is withdrawn. The lead goes on to another member.",
    ), told.stderr  # fmt: skip
    routed.aged()
    routed.tick()
    assert routed.holder(lead) not in {before, None}
    wrong = fairturn(routed, "offer", "rescind", "nobody")
    assert (wrong.returncode, "no such lead" in wrong.stderr) == (2, True)

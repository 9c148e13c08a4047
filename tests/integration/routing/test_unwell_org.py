"""X3: an unwell Salesforce touches nobody but the outbox."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from routing.change import WriteBack, Written
from routing.errors import TryLater
from storage.postgres.gates import OrgGate
from tests.integration.routing.house import House


def test_X3_routing_goes_on_while_salesforce_is_away_and_all_of_it_is_told_afterwards(house: House) -> None:
    for n in range(4):
        house.member(f"P{n}")
    gate, well = OrgGate(house.engine), house.outbound

    def away(_writes: Sequence[WriteBack]) -> list[Written]:
        gate.failed("503")
        raise TryLater("503")

    house.outbound = replace(well, write=away)
    made = [house.lead(f"00Q{n:015}") for n in range(12)]
    while house.log or house.wanted:
        with suppress(TryLater):
            house.work()
    assert {house.state(lead)[0] for lead in made} == {"offered"}
    assert house.rows("SELECT DISTINCT state, attempts FROM outbox WHERE kind = 'salesforce'") == [("pending", 0)]
    house.run("UPDATE gates SET open_until = clock_timestamp() + interval '1 minute'")
    house.sweeper.relay()
    assert "outbox.deliver" not in house.wanted
    house.outbound = well
    house.run("UPDATE gates SET open_until = NULL, failures = 0")
    house.tick()
    assert {write.lead_id for write in house.written} == set(made)

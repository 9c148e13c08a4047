"""A draft beside live: zero writes to anything of live, its own turns and places, every divergence with both sides."""

from datetime import UTC, datetime, timedelta

import pytest

from config import policy as policy_file
from config.simulation.shadow import BEHIND, Follower
from routing.errors import BadInput
from storage.postgres.past import PastReader
from storage.postgres.shadows import Shadows
from tests.integration.routing.house import House
from tests.integration.simulation.history import Town, policy
from tests.integration.simulation.test_trial import everything

OWN = ("shadow_runs", "shadow_divergences")


def follower(house: House) -> Follower:
    """As a process has it that has just started."""
    shadows = Shadows(house.engine)
    reader = PastReader(house.engine, house.ledger.policy)
    return Follower(shadows, reader, policy_file.parse, shadows.decided)


def follow(house: House) -> dict[str, int]:
    return follower(house).follow(now=datetime.now(UTC) + BEHIND + timedelta(milliseconds=1))


def of_live(house: House) -> dict[str, str]:
    return {name: held for name, held in everything(house).items() if not name.startswith("shadow_")}


def test_N9_a_draft_beside_live_writes_nothing_of_live_and_tells_every_divergence(house: House) -> None:
    town = Town(house, seed=3)
    town.settle(8, answer_within="2h")
    town.arrive(4)
    draft = policy(answer_within="2h", mode="nearest", rings={"unit": "mi", "radii": [30]})
    run = Shadows(house.engine).start("draft.yaml", draft)
    with pytest.raises(BadInput, match="runs beside live already"):
        Shadows(house.engine).start("another.yaml", draft)
    for _ in range(3):
        town.arrive(4)
        town.answer()
        before = of_live(house)
        follow(house)  # each time by another process, as after a restart
        assert of_live(house) == before
    shadows = Shadows(house.engine)
    found = shadows.divergences(run)
    ran = shadows.running()
    assert ran is not None
    assert ran.decided >= 12
    assert ran.same + len(found) == ran.decided
    assert found
    for one in found:
        assert one.live_member != one.shadow_member
        assert one.cause
        for chosen, told in ((one.live_member, one.live), (one.shadow_member, one.shadow)):
            if chosen is not None:
                assert told is not None
                assert told["chosen"] == chosen
                assert told["candidates"]
    assert follow(house) in ({}, {"decided": 0, "same": 0})
    ended = shadows.stop()
    assert ended is not None
    assert follow(house) == {}

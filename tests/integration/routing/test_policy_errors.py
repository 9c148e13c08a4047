"""A policy error never stops routing: the last good version goes on, and the error is shown with its place."""

import json
from typing import Any

import pytest

from config import policy as policy_file
from config import policy_text
from routing.dispatcher import Dispatcher
from storage.postgres.ledger import RoutingLedger
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import NoPolicy, Trouble
from tests.integration.routing.house import House, document

NONSENSE: list[Any] = [
    {"pools": "none"},
    {"pools": [{"name": "installers", "made_by": "a newer program"}], "tiers": [], "default_tier": {"capacity": 5}},
    [1, 2],
    "nonsense",
    None,
    {},
]


class Reborn:
    """Another process of the house: it has read nothing yet."""

    def __init__(self, house: House) -> None:
        self.told: list[Trouble] = []
        self.ledger = RoutingLedger(
            house.engine,
            policy_file.parse,
            read=lambda text: policy_text.read(text, "policy"),
            tell=self.told.append,
        )
        self.dispatcher = Dispatcher(ledger=self.ledger, turnstile=house.turnstile, new_id=house.new_id)


@pytest.fixture
def near(house: House) -> int:
    return house.member("near")


def put_in_force(house: House, made: Any) -> None:
    """As by hand, or by a program of another version."""
    house.run("UPDATE policies SET state = 'retired', retired_at = clock_timestamp() WHERE state = 'published'")
    house.run(
        "INSERT INTO policies (version, state, document, published_at) "
        "SELECT max(version) + 1, 'published', CAST(:made AS jsonb), clock_timestamp() FROM policies",
        made=json.dumps(made),
    )


@pytest.mark.parametrize("made", NONSENSE, ids=lambda made: json.dumps(made)[:30])
def test_M10_nonsense_in_force_stops_nobody_and_decisions_name_the_version_that_goes_on(
    house: House, near: int, made: Any
) -> None:
    [before] = house.rows("SELECT version FROM policies WHERE state = 'published'")
    put_in_force(house, made)
    first = house.lead("first")
    house.work()  # a house that has been running
    second, other = house.lead("second"), Reborn(house)
    other.dispatcher.route([second])  # and one that starts now
    assert [house.holder(first), house.holder(second)] == [near, near]
    versions = house.rows("SELECT DISTINCT policy_version FROM decisions")
    assert [row.policy_version for row in versions] == [before.version]
    steps = house.rows("SELECT DISTINCT policy_version FROM timeline WHERE what = 'offered'")
    assert [row.policy_version for row in steps] == [before.version]
    [trouble] = other.told
    assert (trouble.version, trouble.instead) == (before.version + 1, before.version)
    assert other.ledger.policy_trouble() == trouble


def test_an_error_in_a_policy_in_force_is_told_with_its_line_and_its_path(house: House, near: int) -> None:
    source = policy_file.dump(document() | {"surprise": 1})
    put_in_force(house, policy_text.read(source, "x"))
    house.run("UPDATE policies SET source = :source WHERE state = 'published'", source=source)
    other = Reborn(house)
    assert other.ledger.published().version == 1
    [trouble] = other.told
    line = source.splitlines().index("surprise: 1") + 1
    assert f"surprise (policy line {line}, column 1)" in trouble.error
    assert "version 1 goes on" in trouble.told


def test_a_sound_version_published_after_it_is_in_force_at_once(house: House, near: int) -> None:
    put_in_force(house, {"pools": 1})
    assert house.ledger.published().version == 1
    assert house.publish(reassignments=1) == 3
    assert house.ledger.published().version == 3
    assert house.ledger.policy_trouble() is None


def test_a_policy_changed_by_hand_is_used_as_it_was_published_and_told(house: House, near: int) -> None:
    made = document(reassignments=1)
    source = policy_file.dump(made)
    written = policy_text.read(source, "p.yaml")
    policy = policy_file.parse(written, 0)
    pools = [(p.name, p.market, str(p.mode)) for p in policy.pools]
    tiers = list(policy.tiers.values())
    version = Policies(house.engine).publish(
        written, tiers, policy.default_tier, pools, actor="test", source=written.source
    )
    for hand in ("'{\"pools\": 1}'", "jsonb_set(document, '{pools,0,reassignments}', '9')"):
        house.run(f"UPDATE policies SET document = {hand} WHERE version = :v", v=version)  # noqa: S608 - ours
        other = Reborn(house)
        assert other.ledger.published().pools[0].reassignments == 1
        assert [(one.version, one.instead) for one in other.told] == [(version, version)]
        assert "changed by hand" in other.told[0].told


def test_while_no_version_at_all_can_be_read_leads_stay_and_the_house_says_so(house: House, near: int) -> None:
    assert house.ledger.published().version == 1
    house.run("UPDATE policies SET document = '{}'")
    other = Reborn(house)
    lead = house.lead("a")
    with pytest.raises(NoPolicy, match="No version of the policy can be read"):
        other.dispatcher.route([lead])
    assert house.value("SELECT state FROM leads WHERE id = :lead", lead=lead) == "new"
    house.work()  # who has read it before goes on
    assert house.holder(lead) == near


def test_a_version_spoilt_after_it_was_read_is_told_once_by_those_who_look(house: House, near: int) -> None:
    house.publish(reassignments=1)
    other = Reborn(house)
    assert other.ledger.published().version == 2
    house.run("UPDATE policies SET document = '[]', source = NULL WHERE version = 2")
    for _ in range(2):
        assert other.ledger.policy_trouble(tell=True) is not None
    assert [(one.version, one.instead) for one in other.told] == [(2, 1)]
    assert other.ledger.published().version == 2  # what was read goes on

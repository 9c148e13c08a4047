"""The sections `limits` and `fairness` of the policy document: what they mean, and how mistakes are told."""

from datetime import timedelta
from typing import Any

import pytest

from config import policy
from routing.errors import BadInput
from routing.limits import Limit, Of, Per
from routing.policy import ONE_TURN, Cost, Unit


def document(**pool: Any) -> dict[str, Any]:
    installers = {"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [5]}}
    return {"pools": [installers | pool], "default_tier": {"capacity": 5}}


def test_C4_limits_are_of_pools_tiers_and_the_whole_policy() -> None:
    made = document(limits=[{"most": 3, "per": "day"}, {"of": "pool", "most": 90, "per": "30d", "counts": "kept"}])
    made |= {"limits": [{"name": "weekly", "of": "network", "most": 9, "per": "week", "zone": "Europe/Berlin"}]}
    made |= {"tiers": [{"name": "gold", "capacity": 9, "limits": [{"most": 7, "per": "hour"}]}]}
    found = policy.parse(made, 1)
    assert found.pools[0].limits == (
        Limit("member-day", Of.MEMBER, Per.DAY, 3),
        Limit("pool-30d", Of.POOL, timedelta(days=30), 90, kept=True),
    )
    assert found.limits == (Limit("weekly", Of.NETWORK, Per.WEEK, 9, zone="Europe/Berlin"),)
    assert found.tiers["gold"].limits == (Limit("member-hour", Of.MEMBER, Per.HOUR, 7),)
    assert found.is_limited
    assert not policy.parse(document(), 1).is_limited


def test_C10_F13_paces_and_shares_are_percentages() -> None:
    made = document(
        limits=[
            {"most": 100, "per": "month", "pace": {"day": 10, "week": 30}},
            {"share": 20, "per": "7d"},
            {"name": "big", "share": 50, "per": "month", "from": 100, "of": "network"},
        ]
    )
    month, share, big = policy.parse(made, 1).pools[0].limits
    assert month.pace == ((Per.DAY, 10), (Per.WEEK, 30))
    assert (share.name, share.percent, share.floor) == ("share-7d", 20, 20)
    assert policy.parse(document(limits=[{"share": 3, "per": "7d"}]), 1).pools[0].limits[0].floor == 34
    assert (big.percent, big.floor, big.of) == (50, 100, Of.NETWORK)


def test_F12_turns_are_counted_in_leads_units_or_value() -> None:
    assert policy.parse(document(), 1).pools[0].cost is ONE_TURN
    assert policy.parse(document(fairness={"unit": "units"}), 1).pools[0].cost == Cost(Unit.UNITS)
    by_value = document(fairness={"unit": "value", "value": "lead.amount", "worth": 10000, "most": 20})
    made = by_value | {"attributes": {"lead": {"amount": "number"}}}
    assert policy.parse(made, 1).pools[0].cost == Cost(Unit.VALUE, "lead.amount", 10000, 20)


@pytest.mark.parametrize(
    ("limit", "field", "said"),
    [
        ({"most": 3, "per": "fortnight"}, "per", "no window of time"),
        ({"most": 3, "per": 5}, "per", "no window of time"),
        ({"most": 3, "per": "10m"}, "limits[0]", "out of range"),
        ({"most": -1, "per": "day"}, "most", "Give 0 or more"),
        ({"most": 2.5, "per": "day"}, "most", "whole number"),
        ({"per": "day"}, "limits[0]", "most or share"),
        ({"most": 3, "share": 20, "per": "day"}, "limits[0]", "most or share"),
        ({"share": 120, "per": "7d"}, "share", "Give at most 99"),
        ({"share": 20, "per": "7d", "from": 4}, "limits[0]", "20 % of 4 leads is less than one"),
        ({"share": 20, "per": "7d", "of": "pool"}, "limits[0]", "a share is of a member"),
        ({"most": 3, "per": "day", "from": 5}, "limits[0]", "from belongs to a share"),
        ({"most": 3, "per": "month", "pace": {"day": 101}}, "pace.day", "Give at most 100"),
        ({"most": 3, "per": "day", "pace": {"week": 30}}, "limits[0]", "not shorter than day"),
        ({"most": 3, "per": "30d", "pace": {"day": 30}}, "limits[0]", "not shorter than 30d"),
        ({"most": 3, "per": "day", "zone": "Mars/Olympus"}, "zone", "not a time zone"),
        ({"most": 3, "per": "day", "of": "planet"}, "of", "Write member, network or pool"),
        ({"most": 3, "per": "day", "mots": 3}, "mots", "Did you mean most"),
    ],
)
def test_C3_a_wrong_limit_is_refused_with_its_place_and_the_fix(limit: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        policy.parse(document(limits=[limit]), 1)
    assert field in refused.value.field
    assert refused.value.fix


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (document(limits=[{"most": 3, "per": "day"}, {"most": 4, "per": "day"}]), "member-day twice"),
        (document() | {"limits": [{"of": "pool", "most": 3, "per": "day"}]}, "no meaning here"),
        (document() | {"limits": [{"share": 20, "per": "7d"}]}, "what one pool gives"),
        (
            document() | {"default_tier": {"capacity": 5, "limits": [{"of": "network", "most": 3, "per": "day"}]}},
            "no meaning here",
        ),
        (document(fairness={"unit": "value"}), "goes with value and worth"),
        (document(fairness={"unit": "value", "value": "lead.amount", "worth": 0}), "Give more than 0"),
        (document(fairness={"unit": "value", "value": "lead.city", "worth": 5}), "no number of leads"),
        (document(fairness={"unit": "effort"}), "count, units or value"),
        (
            document(mode="cursor", fairness={"unit": "units"}),
            "counts turns in units, and mode cursor keeps no accounts",
        ),
        (document(mode="nearest", turns={"by_hand_counts": True}), "by_hand_counts moves accounts, and mode nearest"),
        (document(mode="least_loaded", turns={"by_hand_counts": "moved"}), "by_hand_counts moves accounts"),
    ],
)
def test_limits_and_fairness_that_mean_nothing_are_refused(made: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        policy.parse(made, 1)
    assert refused.value.field
    assert refused.value.fix

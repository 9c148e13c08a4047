"""Two policies, and what differs between them."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config.policy import default_document
from routing.policy_diff import Difference, Kind, differences, same

NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | NAMES
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.just("name"), inner, max_size=4)
        | st.lists(
            st.builds(lambda name, more: {**more, "name": name}, NAMES, st.dictionaries(NAMES, inner)), max_size=4
        )
    ),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_where_two_documents_do_not_say_the_same(one: Any, other: Any) -> None:
    assert (differences(one, other) == []) == same(one, other)
    assert differences(one, json.loads(json.dumps(one))) == []


@given(VALUES, VALUES)
def test_turned_round_what_was_added_is_removed(one: Any, other: Any) -> None:
    there = {(d.path, d.kind) for d in differences(one, other)}
    turned = {Kind.ADDED: Kind.REMOVED, Kind.REMOVED: Kind.ADDED}
    assert {(path, turned.get(kind, kind)) for path, kind in there} == {
        (d.path, d.kind) for d in differences(other, one)
    }
    assert all(d.told.count("\n") == 0 for d in differences(one, other))


def test_M10_a_difference_is_told_by_name_and_path() -> None:
    before: dict[str, Any] = copy.deepcopy(dict(default_document()))
    after = copy.deepcopy(before)
    after["pools"][0]["reassignments"] = 5
    after["tiers"] = [after["tiers"][1], after["tiers"][0], {"name": "bronze", "capacity": 2}]
    assert [d.told for d in differences(before, after)] == [
        "~ pools[installers].reassignments: 3 -> 5",
        '- tiers[silver] (no. 3): {"name": "silver", "weight": 1, "capacity": 5}',
        '+ tiers[bronze] (no. 3): {"name": "bronze", "capacity": 2}',
        "~ tiers: the order is now gold, platinum",
    ]


def test_a_change_in_a_long_list_of_words_is_told_by_what_came_and_went() -> None:
    before = {"countries": ["US", "DE", "AT", "CH", "FR"]}
    after = {"countries": ["US", "DE", "AT", "IT", "FR"]}
    [found] = differences(before, after)
    assert found.told == "~ countries: -CH +IT"
    assert found == Difference("countries", Kind.CHANGED, before["countries"], after["countries"])

"""The doorkeeper, and what a queue looks like to a worker."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import BadInput
from tasks.arguments import checked
from tasks.broker import LARGEST_BYTES, HotFirst, NotOurs, check

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=15,
)
FIELDS = ["body", "headers", "properties", "content-type", "content-encoding"]


def known(task: str) -> bool:
    return task == "leads.route"


def message(body: object = None) -> dict[str, Any]:
    inside = json.dumps([[[1]], {}, {"callbacks": None}] if body is None else body).encode()
    return {
        "body": base64.b64encode(inside).decode(),
        "headers": {"id": "1", "task": "leads.route"},
        "properties": {"delivery_tag": "2", "delivery_info": {}, "body_encoding": "base64"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


def test_a_message_of_ours_is_let_in_as_it_is() -> None:
    assert check(json.dumps(message()).encode(), known) == message()


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_else_is_refused_in_one_way(raw: bytes) -> None:
    with pytest.raises(NotOurs):
        check(raw, known)


@given(st.sampled_from(FIELDS), JSON)
def test_one_wrong_part_is_enough(name: str, value: object) -> None:
    wrong = message() | {name: value}
    if wrong != message():
        with pytest.raises(NotOurs):
            check(json.dumps(wrong).encode(), known)


@given(JSON)
def test_whatever_the_body_says_is_refused_or_has_the_shape_of_arguments(body: object) -> None:
    try:
        found = check(json.dumps(message(body)).encode(), known)
    except NotOurs:
        return
    args, kwargs, _ = json.loads(base64.b64decode(found["body"]))
    assert isinstance(args, list)
    assert isinstance(kwargs, dict)


def test_deep_nesting_and_great_length_are_refused() -> None:
    with pytest.raises(NotOurs, match="not JSON"):
        check(b"[" * (LARGEST_BYTES - 1), known)
    with pytest.raises(NotOurs, match="too large"):
        check(b"[" * (LARGEST_BYTES + 1), known)


def test_what_is_urgent_is_looked_at_first_and_the_others_in_their_turn() -> None:
    cycle = HotFirst(["leads", "leads.hot", "outbox", "sweeps"])  # type: ignore[no-untyped-call]  # Kombu has few types
    assert cycle.consume(4)[0] == "leads.hot"
    cycle.rotate("leads")  # type: ignore[no-untyped-call]  # as above
    assert cycle.consume(4) == ["leads.hot", "outbox", "sweeps", "leads"]


def route(lead_ids: list[int]) -> None: ...
def reject(queue: str, size: int) -> None: ...


@given(st.lists(JSON, max_size=3))
def test_arguments_are_ids_or_refused(args: list[Any]) -> None:
    fine = len(args) == 1 and isinstance(args[0], list) and all(type(i) is int and 0 < i < 2**63 for i in args[0])
    if fine:
        checked(route, tuple(args), {})
    else:
        with pytest.raises(BadInput):
            checked(route, tuple(args), {})


def test_words_and_numbers_are_short() -> None:
    checked(reject, ("leads", 7), {})
    for args in (("x" * 3000, 7), ("leads", "7"), ("leads", True), (7, 7)):
        with pytest.raises(BadInput):
            checked(reject, args, {})

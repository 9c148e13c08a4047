"""A policy that takes long to be read is read beside: routing goes on with the one before it."""

import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from config import policy as policy_file
from routing.policy import Policy
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import PolicyReader, Trouble
from tests.integration.routing.house import House


def test_while_a_policy_of_many_rules_is_read_the_one_before_it_goes_on(house: House) -> None:
    first, [read, let_go] = house.publish(reassignments=1), [Event(), Event()]

    def parse(document: Mapping[str, Any], version: int) -> Policy:
        if version > first:
            read.set()
            assert let_go.wait(30)
        return policy_file.parse(document, version)

    reader = PolicyReader(Policies(house.engine), parse, many=0)
    assert reader.going(first) == first
    second = house.publish(reassignments=2)
    assert reader.going(second) == first
    assert read.wait(30)
    assert reader.published().version == first
    let_go.set()
    until(lambda: reader.going(second) == second)
    assert reader.published().version == second


def test_what_is_wrong_with_a_policy_that_is_read_beside_is_told_once(house: House) -> None:
    first, told = house.publish(reassignments=1), list[Trouble]()
    reader = PolicyReader(Policies(house.engine), policy_file.parse, tell=told.append, many=0)
    assert reader.going(first) == first
    second = house.publish(reassignments=2)
    house.run("UPDATE policies SET document = '{}' WHERE version = :version", version=second)
    assert reader.going(second) == first
    until(lambda: bool(told))
    assert [reader.going(second), reader.going(second)] == [first, first]
    assert [(one.version, one.instead) for one in told] == [(second, first)]


def test_M10_a_policy_of_many_rules_that_was_in_force_before_is_not_read_again_when_it_comes_back(house: House) -> None:
    parsed: list[int] = []

    def parse(document: Mapping[str, Any], version: int) -> Policy:
        parsed.append(version)
        return policy_file.parse(document, version)

    reader = PolicyReader(Policies(house.engine), parse, many=0)
    first = house.publish(reassignments=1)
    assert reader.going(first) == first
    second = house.publish(reassignments=2)
    until(lambda: reader.going(second) == second)
    back = house.publish(reassignments=1)
    assert reader.going(back) == back  # for the very next lead
    assert (reader.policy(back).version, reader.policy(back).pools) == (back, reader.policy(first).pools)
    assert parsed == [first, second]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

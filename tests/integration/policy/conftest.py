"""A house, and who publishes its policies."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from config import policy as policy_file
from config import policy_text
from config.publisher import Publisher
from routing.access import Role
from routing.versions import Writer
from storage.postgres.people import People
from storage.postgres.policies import Policies
from tests.integration.routing.house import House, document

COMMAND_LINE = Writer("fairturn policy")


class Shelf:
    """Contents of tables and areas, in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def get(self, digest: str) -> bytes:
        return self.held[digest]

    def put(self, content: bytes) -> str:
        digest = f"sha256:{sha256(content).hexdigest()}"
        self.held[digest] = content
        return digest


@dataclass
class Press:
    """Publishers of one house, each with the settings of the test."""

    house: House
    woken: list[int] = field(default_factory=list)
    contents: Shelf = field(default_factory=Shelf)

    def publisher(self, *, people: int = 1) -> Publisher:
        return Publisher(
            policies=Policies(self.house.engine),
            parse=partial(policy_file.parse, contents=self.contents.get),
            check=lambda _document, _policy: (),
            contents=self.contents,
            people=people,
            wake=lambda: self.woken.append(self.house.leads.wake()),
        )

    def manager(self, name: str, *manages: str) -> Writer:
        """One of our own people."""
        added = People(self.house.engine).add(
            name=name, email=f"{name.lower()}@example.com", role=Role.MANAGER, member=None, actor="test"
        )
        return Writer(name, added, frozenset(manages))

    def written(self, *, comment: str = "", **pool: Any) -> policy_text.Written:
        """A policy as somebody wrote it."""
        return policy_text.read(f"# {comment}\n" + policy_file.dump(document(**pool)), "policy.yaml")


def of_two_units() -> dict[str, Any]:
    """A policy of two units: Australia has a market of its own, everybody else another."""
    made = document()
    south = deepcopy(made["pools"][0]) | {"name": "antipodes", "market": "south", "countries": ["AU"]}
    return made | {"pools": [*made["pools"], south]}


@pytest.fixture
def press(database_url: str, redis_url: str) -> Iterator[Press]:
    house = House(database_url, redis_url)
    try:
        house.publish()
        yield Press(house)
        assert house.breaches() == {}
    finally:
        house.close()

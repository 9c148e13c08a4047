"""The turnstile and the ledger that decides alone: the same leads, capacities and answers come to the same members."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import policy as policy_file
from routing.errors import ColdTurnstile
from routing.lead import Point
from routing.policy import Answering, TurnEffect
from routing.ports import Standing
from storage.postgres.members import MemberRow
from storage.postgres.policies import Policies
from storage.postgres.verify import Verify
from tests.integration.routing.house import House, document

NOBODY_LISTENS = "redis://127.0.0.1:1/0"
ABOUT_CHOICES = {"choice", "standing", "gate", "order"}
#: Every lead came at this time: then its number decides who is first.
SOON = datetime(2026, 11, 22, tzinfo=UTC)
#: Degrees of latitude around the first lead: inside the first, the second and the third ring.
STEPS = (0.02, 0.1, 0.4)

people = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.sampled_from([None, 1500, 333])), min_size=1, max_size=7
)
moments = st.lists(
    st.one_of(
        st.tuples(st.just("leads"), st.lists(st.sampled_from((0.0, *STEPS)), min_size=1, max_size=3), st.booleans()),
        st.tuples(st.just("no answer"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("no answer"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("flush"), st.none(), st.booleans()),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def houses(database_url: str, redis_url: str) -> Iterator[tuple[House, House]]:
    """The same ledger, with a turnstile and without."""
    both = House(database_url, redis_url), House(database_url, NOBODY_LISTENS)
    yield both
    choices = [b for b in Verify(both[0].engine).run().breaches if b.check in ABOUT_CHOICES]
    for one in both:
        one.close()
    assert choices == []


class World:
    """A market of its own, worked on by either house."""

    def __init__(
        self,
        houses: tuple[House, House],
        mode: str,
        crowd: Sequence[tuple[float, int, int | None]],
        expired_turn: TurnEffect,
    ) -> None:
        self.here, self.alone = houses
        self.answering = {"installers": Answering(expired_turn=expired_turn)}
        self.market = f"m{uuid4().hex}"
        self.here.run("UPDATE leads SET state = 'withdrawn', reason = 'deleted' WHERE state = 'waiting'")
        made = document(market=self.market, mode=mode)
        policy = policy_file.parse(made, 0)
        named = [(p.name, p.market, str(p.mode)) for p in policy.pools]
        Policies(self.here.engine).publish(made, list(policy.tiers.values()), policy.default_tier, named, actor="test")
        self.members: list[int] = []
        for n, (away, capacity, weight) in enumerate(crowd):
            key = f"{self.market}-{n}"
            place = Point(40.0 + away, -75.0)
            row = MemberRow(key=key, name=key, market=self.market, capacity=capacity, weight=weight, places=(place,))
            self.here.members.upsert([row], actor="test")
            self.members.append(self.here.value("SELECT id FROM members WHERE key = :key", key=key))
        self.leads: list[int] = []

    def step(self, what: str, how: Any, *, alone: bool) -> None:
        house = self.alone if alone else self.here
        if not alone:
            assert house.dispatcher.come_back(self.market)
        if what == "leads":
            house.dispatcher.route(self._new([40.0 + away for away in how]))
        elif what == "flush":
            with redis.Redis.from_url(self.here.redis_url) as server:
                server.flushall()
        elif self.leads:
            self._no_answer(house, self.leads[how % len(self.leads)])

    def _new(self, lats: Sequence[float]) -> list[int]:
        whole = {"country": "US", "city": "Town", "postal_code": "19000", "lon": -75.0}
        records = [f"00Q{self.market[1:13]}{len(self.leads) + n:03}" for n in range(len(lats))]
        changes = [
            self.here.change(record, body=whole | {"lat": lat}, at=SOON)
            for record, lat in zip(records, lats, strict=True)
        ]
        self.here.journey.intake(self.here.store(changes))
        self.here.log.clear()
        new = [self.here.id_of(record) for record in records]
        self.leads += new
        return new

    def _no_answer(self, house: House, lead: int) -> None:
        if house.holder(lead) is None:
            return
        house.overdue(lead)
        again, _ = house.leads.expire(self.answering)
        house.outbound.free()
        house.dispatcher.route(list(again))

    def is_as_the_ledger_says(self) -> bool:
        """Whether the turnstile's accounts are those the ledger comes to, and nothing was made or lost in either."""
        self.here.dispatcher.come_back(self.market)
        with self.here.ledger.rebuild(self.market, self.here.ledger.standing_at(self.market).generation) as snapshot:
            assert snapshot is not None
        accounts = snapshot.standings.get("installers", {})
        try:
            held = self.here.turnstile.standings(self.market, "installers")
        except ColdTurnstile:
            return True  # it was flushed, and nobody has come since
        assert sum(one.standing for one in held.values()) == sum(one.standing for one in accounts.values()) == 0
        return held == {member: one for member, one in accounts.items() if one != Standing(0, 0)}

    def story(self) -> list[Any]:
        """Every decision with all it saw, in the market's own names."""
        query = "SELECT * FROM decisions WHERE market = :market ORDER BY generation, seq"
        found = []
        for d in self.here.rows(query, market=self.market):
            seen = zip(d.member, d.gate, d.open, d.standing, d.served, strict=True)
            who = None if d.chosen is None else self.members.index(d.chosen)
            sights = [(self.members.index(member), *rest) for member, *rest in seen]
            found.append((self.leads.index(d.lead_id), d.attempt, who, d.reason, d.rotation, d.seq, sights))
        return found


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(["fair", "fair", "fair", "cursor", "least_recent", "least_loaded", "nearest"]),
    crowd=people,
    course=moments,
    expired_turn=st.sampled_from(TurnEffect),
)
def test_X4_the_ledger_alone_and_the_turnstile_choose_the_same_members(
    houses: tuple[House, House], mode: str, crowd: list[Any], course: list[Any], expired_turn: TurnEffect
) -> None:
    stories = []
    for alone in ((False, False), (True, True), (False, True)):
        world = World(houses, mode, crowd, expired_turn)
        for what, how, switch in course:
            world.step(what, how, alone=alone[switch])
        assert world.is_as_the_ledger_says()
        stories.append(world.story())
    assert stories[1] == stories[0]
    assert stories[2] == stories[0]

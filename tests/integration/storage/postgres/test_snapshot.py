import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing import fairness
from routing.decision import Candidate, Decision, Gate
from routing.errors import TryLater
from routing.fairness import Book
from routing.policy import Mode
from storage.postgres.engine import transaction
from storage.postgres.snapshot import Turns
from tests.integration.storage.postgres import rows

Books = defaultdict[str, Book]


def decide(dice: random.Random, books: Books, members: list[int], *, lead: int, seq: int, generation: int) -> Decision:
    """One decision by the rule itself, written down as the ledger keeps it."""
    mode = dice.choice(list(Mode))
    rotation = f"{mode}"
    seen = [
        (Candidate(member, dice.uniform(0, 9000), 0, 1, dice.choice([1000, 1500, 333]), 5), dice.randrange(7))
        for member in dice.sample(members, dice.randint(1, len(members)))
    ]
    verdict = fairness.choose(mode, seen, books[rotation])
    fairness.apply(verdict, books[rotation])
    weighed = [
        rows.weighed(c.member, weight=c.weight, open=open_, gate=Gate.ELIGIBLE if open_ < 5 else Gate.FULL)
        for c, open_ in seen
    ]
    chosen = verdict.chosen
    return rows.decision(
        lead, chosen, weighed, seq=seq, generation=generation, mode=mode, rotation=rotation if chosen else ""
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(), st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_F4_accounts_come_back_from_the_ledger_exactly(
    engine: sa.Engine, seed: int, between_rebuilds: list[int]
) -> None:
    dice = random.Random(seed)
    market, books, seq = f"us-{uuid4()}", Books(Book), 0
    members = rows.add_members(engine, 6, market=market)
    for count in between_rebuilds:
        generation = Turns(engine).generation(market)
        with transaction(engine) as connection:
            lead = rows.add_lead(connection, 0, salesforce_id=str(uuid4()))
            made = [
                decide(dice, books, members, lead=lead, seq=seq + n, generation=generation) for n in range(1, count + 1)
            ]
            dice.shuffle(made)  # they may be committed in any order
            seq += count
            rows.add_decisions(connection, [replace(one, market=market) for one in made])
        with Turns(engine).rebuild(market) as snapshot:
            assert snapshot is not None
            assert snapshot.generation == generation + 1
        for rotation, book in books.items():
            accounts = snapshot.standings.get(rotation, {})
            assert {m: a.standing for m, a in accounts.items() if a.standing} == {
                m: s for m, s in book.standing.items() if s
            }
            assert {m: a.served for m, a in accounts.items() if a.served} == book.served
            assert (snapshot.ticks.get(rotation, 0), snapshot.cursors.get(rotation, 0)) == (book.tick, book.cursor)
            assert sum(a.standing for a in accounts.values()) == 0


def test_a_snapshot_holds_the_open_offers_and_the_last_number_given(engine: sa.Engine) -> None:
    one, two = rows.add_members(engine, 2)
    with transaction(engine) as connection:
        made = [
            rows.decision(rows.add_lead(connection, n), one, [rows.weighed(one), rows.weighed(two)], seq=n)
            for n in (1, 2, 3)
        ]
        rows.add_decisions(connection, made)
        rows.add_offer(connection, made[0])
        rows.add_offer(connection, made[1], state="accepted")
        rows.add_offer(connection, made[2], state="rejected")
    with Turns(engine).rebuild("us") as snapshot:
        assert snapshot is not None
        assert snapshot.open_offers == {made[0].id: one, made[1].id: one}
        assert snapshot.seq == 3
    with Turns(engine).rebuild("us") as again:
        assert again is not None
        assert (again.generation, again.seq) == (snapshot.generation + 1, 3)


def test_a_rebuild_that_fails_leaves_the_generation_as_it_was(engine: sa.Engine) -> None:
    rows.add_members(engine, 1)
    with pytest.raises(ConnectionError), Turns(engine).rebuild("us"):
        raise ConnectionError
    assert Turns(engine).generation("us") == 0


def test_who_comes_second_finds_the_turnstile_rebuilt(engine: sa.Engine) -> None:
    rows.add_members(engine, 1)
    with Turns(engine).rebuild("us", seen=0) as first:
        assert first is not None
    with Turns(engine).rebuild("us", seen=0) as second:
        assert second is None
    assert Turns(engine).generation("us") == 1


def test_nothing_is_routed_while_the_turnstile_is_rebuilt(engine: sa.Engine) -> None:
    rows.add_members(engine, 1)
    hold = sa.text("SET LOCAL lock_timeout = '20ms'")
    share = sa.text("SELECT pg_advisory_xact_lock_shared(hashtext('turnstile:us'))")

    def route() -> None:
        with transaction(engine) as connection:
            connection.execute(hold)
            connection.execute(share)

    with Turns(engine).rebuild("us"), pytest.raises(TryLater):
        route()
    route()


def test_rebuilds_at_the_same_time_take_turns(engine: sa.Engine) -> None:
    rows.add_members(engine, 1)
    start, inside, most = threading.Barrier(4), [0], [0]

    def rebuild(_: int) -> int:
        start.wait()
        with Turns(engine).rebuild("us") as snapshot:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            assert snapshot is not None
            return snapshot.generation

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rebuild, range(4))) == [1, 2, 3, 4]
    assert most == [1]

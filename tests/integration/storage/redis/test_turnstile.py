"""The turnstile on a real Valkey: many hands at once, lost replies, lost scripts, refused users, large snapshots."""

import multiprocessing
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from routing.decision import Ask, Candidate, Grant, Group
from routing.errors import BadInput, ColdTurnstile, GiveUp, TurnstileUnreachable
from routing.policy import Mode
from routing.ports import Snapshot, Standing
from storage.redis.client import connect
from storage.redis.keys import MarketKeys
from storage.redis.turnstile import RedisTurnstile
from tests.fakes.turnstile import FakeTurnstile

MARKET = "solar"
EMPTY = Snapshot(generation=1, seq=0, open_offers={}, standings={}, ticks={}, cursors={})
PLENTY = 1_000_000
ONCE = Retry(NoBackoff(), 0)


@pytest.fixture
def turnstile(redis_url: str) -> Iterator[RedisTurnstile]:
    made = RedisTurnstile(redis_url)
    made.rebuild(MARKET, EMPTY)
    yield made
    made.close()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def a_candidate(member: int, *, capacity: int = PLENTY, weight: int = 1000) -> Candidate:
    return Candidate(member, 1000.0, ring=0, tier_rank=1, weight=weight, capacity=capacity)


def an_ask(lead: int, *candidates: Candidate, mode: Mode = Mode.FAIR) -> Ask:
    return Ask(lead, 1, uuid4(), mode, (Group(0, "installers", candidates),))


def give(turnstile: RedisTurnstile, *asks: Ask) -> list[Grant]:
    return turnstile.reserve(MARKET, asks, generation=1)


# --- C1: 200 workers, limit 5 ---------------------------------------------------------------------------------------


class Call(NamedTuple):
    """One reserve as its caller saw it: what it gave back first, then what it got."""

    seq: int
    released: int
    got: bool
    open_before: int


def _one_worker(turnstile: RedisTurnstile, worker: int) -> list[Call]:
    held: list[UUID] = []
    calls = []
    for turn in range(5):
        ask = an_ask(worker * 1000 + turn, a_candidate(1, capacity=5))
        (grant,) = turnstile.reserve(MARKET, [ask], generation=1, release=held)
        calls.append(Call(grant.seq, len(held), grant.member is not None, grant.sights[0].open))
        held = [grant.offer] if grant.member else []
    turnstile.release(MARKET, held)
    return calls


def _one_process(url: str, number: int) -> list[Call]:
    turnstile = RedisTurnstile(url)
    with ThreadPoolExecutor(100) as threads:
        done = threads.map(_one_worker, [turnstile] * 100, range(number * 100, number * 100 + 100))
        return [call for calls in done for call in calls]


def test_C1_two_hundred_workers_never_hold_more_than_five_at_any_instant(
    turnstile: RedisTurnstile, redis_url: str
) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        calls = [c for done in processes.map(_one_process, [redis_url] * 2, range(2)) for c in done]
    assert len({call.seq for call in calls}) == len(calls) == 200 * 5
    held, most = 0, 0
    for call in sorted(calls):
        held -= call.released
        # A worker's last release carries no number, so the turnstile may hold fewer than the replay, never more.
        assert call.open_before <= held
        held += call.got
        most = max(most, call.open_before + call.got)
    assert most == 5
    assert turnstile.open_counts(MARKET) == {}
    assert sum(a.standing for a in turnstile.standings(MARKET, "installers").values()) == 0


def test_a_hundred_threads_asking_for_the_same_lead_get_one_answer(turnstile: RedisTurnstile) -> None:
    together = threading.Barrier(100)

    def ask_it(_: int) -> Grant:
        together.wait()
        return give(turnstile, an_ask(7, a_candidate(1), a_candidate(2)))[0]

    with ThreadPoolExecutor(100) as threads:
        grants = list(threads.map(ask_it, range(100)))
    assert len({(grant.offer, grant.member, grant.seq) for grant in grants}) == 1
    assert sum(not grant.repeated for grant in grants) == 1
    assert turnstile.open_counts(MARKET) == {1: 1}


def test_F1_a_hundred_threads_leave_four_members_with_a_quarter_each(turnstile: RedisTurnstile) -> None:
    together = threading.Barrier(100)

    def ask_one(lead: int) -> Grant:
        together.wait()
        return give(turnstile, an_ask(lead, *map(a_candidate, (1, 2, 3, 4))))[0]

    with ThreadPoolExecutor(100) as threads:
        grants = sorted(threads.map(ask_one, range(100)), key=lambda grant: grant.seq)
    for upto in range(1, 101):
        counts = [sum(grant.member == m for grant in grants[:upto]) for m in (1, 2, 3, 4)]
        assert max(counts) - min(counts) <= 1
    assert turnstile.open_counts(MARKET) == {1: 25, 2: 25, 3: 25, 4: 25}


def test_F5_nobody_is_two_turns_from_its_entitlement_though_one_is_absent_half_the_time(
    turnstile: RedisTurnstile,
) -> None:
    dice, everyone = random.Random(5), [1, 2, 3, 4]
    off = dict.fromkeys(everyone, Fraction(0))
    for batch in range(50):
        absent = [dice.choice(everyone) if dice.random() < 0.5 else 0 for _ in range(100)]
        asks = (
            # Who is full is here but not eligible; who is away is not here at all.
            an_ask(batch * 100 + n, *(a_candidate(m, capacity=0 if m == gone else PLENTY) for m in everyone))
            if n % 2
            else an_ask(batch * 100 + n, *(a_candidate(m) for m in everyone if m != gone))
            for n, gone in enumerate(absent)
        )
        for grant, gone in zip(give(turnstile, *asks), absent, strict=True):
            eligible = [sight.member for sight in grant.sights if sight.eligible]
            assert eligible == [m for m in everyone if m != gone]
            for member in eligible:
                off[member] += (member == grant.member) - Fraction(1, len(eligible))
            assert max(map(abs, off.values())) <= 2
    assert sum(a.standing for a in turnstile.standings(MARKET, "installers").values()) == 0


# --- failures -------------------------------------------------------------------------------------------------------


def test_F4_another_client_goes_on_where_the_first_stopped(turnstile: RedisTurnstile, redis_url: str) -> None:
    three = [a_candidate(m) for m in (1, 2, 3)]
    first = [give(turnstile, an_ask(lead, *three))[0].member for lead in (1, 2)]
    turnstile.close()
    another = RedisTurnstile(redis_url)
    assert first + [give(another, an_ask(lead, *three))[0].member for lead in (3, 4)] == [1, 2, 3, 1]


def test_scripts_the_server_has_forgotten_are_loaded_again(turnstile: RedisTurnstile, admin: redis.Redis) -> None:
    give(turnstile, an_ask(1, a_candidate(1)))
    admin.script_flush()
    assert give(turnstile, an_ask(2, a_candidate(1)))[0].member == 1


def test_a_flushed_server_is_cold_until_it_is_rebuilt(turnstile: RedisTurnstile, admin: redis.Redis) -> None:
    admin.flushall()
    with pytest.raises(ColdTurnstile):
        give(turnstile, an_ask(1, a_candidate(1)))
    turnstile.rebuild(MARKET, EMPTY)
    assert give(turnstile, an_ask(1, a_candidate(1)))[0].member == 1


class LosesReplies:
    """A server in front of the real one that passes every request on and never answers the first call of a script."""

    def __init__(self, server: redis.Redis) -> None:
        self._server = server
        self._door = socket.create_server(("127.0.0.1", 0))
        self._deaf = threading.Event()
        self.port: int = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        caller, _ = self._door.accept()
        behind: Any = self._server.connection_pool.get_connection()
        with caller:
            answers = threading.Thread(target=self._answer, args=(behind, caller))
            answers.start()
            while not self._deaf.is_set():
                asked = caller.recv(1 << 20)
                if b"EVALSHA" in asked:
                    self._deaf.set()
                behind.send_packed_command([asked], check_health=False)
            answers.join(5)
        self._server.connection_pool.release(behind)

    def _answer(self, behind: Any, caller: socket.socket) -> None:
        while answer := behind._sock.recv(1 << 20):
            if self._deaf.is_set():
                return
            caller.sendall(answer)

    def close(self) -> None:
        self._thread.join(5)
        self._door.close()


def test_after_a_lost_reply_the_same_ask_finds_its_own_reservation(turnstile: RedisTurnstile, redis_url: str) -> None:
    ask = an_ask(1, a_candidate(1))
    give(turnstile, an_ask(99, a_candidate(2), a_candidate(1, capacity=0)))  # all there is to load is loaded
    with redis.Redis.from_url(redis_url) as server:
        between = LosesReplies(server)
        # The plainest connection: no greeting that the man in the middle would have to understand.
        half_deaf = redis.Redis(
            port=between.port, protocol=2, retry=ONCE, socket_timeout=5, driver_info=None, client_name=None
        )
        with pytest.raises(TurnstileUnreachable):
            give(RedisTurnstile(half_deaf), ask)
        half_deaf.close()
        between.close()
    (again,) = give(turnstile, ask)
    assert again.repeated
    assert turnstile.open_counts(MARKET) == {1: 1, 2: 1}


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(TurnstileUnreachable):
        RedisTurnstile("redis://127.0.0.1:1/0").open_counts(MARKET)


def test_a_server_that_never_answers_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patient = redis.Redis(port=silent.getsockname()[1], socket_timeout=0.2, retry=ONCE)
        with pytest.raises(TurnstileUnreachable):
            RedisTurnstile(patient).release(MARKET, [])
        patient.close()


def test_our_own_connections_ask_once_and_wait_a_second(redis_url: str) -> None:
    with connect(redis_url) as client:
        settings = client.connection_pool.connection_kwargs
        assert settings["retry"].get_retries() == 0
        assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (1, 1)


def test_a_user_limited_to_our_keys_can_do_everything_and_reach_nothing_else(
    redis_url: str, admin: redis.Redis
) -> None:
    admin.acl_setuser(
        "turn",
        enabled=True,
        reset=True,
        passwords=["+secret"],
        keys=["turnstile:*", "rate:*"],
        categories=["+@read", "+@write", "+@transaction", "+@connection", "-@dangerous"],
        commands=["+evalsha", "+eval", "+time", "+info"],
    )
    try:
        limited = connect(redis_url)
        limited.connection_pool.connection_kwargs.update(username="turn", password="secret")
        turnstile = RedisTurnstile(limited)
        turnstile.rebuild(MARKET, Snapshot(1, 0, {uuid4(): 1}, {"installers": {1: Standing(0, 1)}}, {}, {}))
        (grant,) = give(turnstile, an_ask(1, a_candidate(1)))
        turnstile.settle(MARKET, cancel=[(1, 1)])
        turnstile.release(MARKET, [grant.offer])
        assert turnstile.pending(MARKET, older_than_s=0) == []
        assert turnstile.open_counts(MARKET) == {1: 1}
        assert turnstile.standings(MARKET, "installers") == {1: Standing(0, 1)}
        with pytest.raises(redis.exceptions.NoPermissionError):
            limited.get("celery")
        limited.close()
    finally:
        admin.acl_deluser("turn")


def test_a_refused_user_is_told_to_look_at_the_credentials(redis_url: str, admin: redis.Redis) -> None:
    admin.acl_setuser(
        "stranger", enabled=True, reset=True, passwords=["+secret"], keys=["elsewhere:*"], categories=["+@all"]
    )
    try:
        for password in ("secret", "wrong"):
            stranger = connect(redis_url)
            stranger.connection_pool.connection_kwargs.update(username="stranger", password=password)
            with pytest.raises(GiveUp, match="user and password"):
                give(RedisTurnstile(stranger), an_ask(1, a_candidate(1)))
            stranger.close()
    finally:
        admin.acl_deluser("stranger")


def test_a_number_too_large_for_the_turnstile_is_named(turnstile: RedisTurnstile) -> None:
    with pytest.raises(BadInput) as refused:
        give(turnstile, an_ask(1, a_candidate(1, weight=2**31)))
    assert refused.value.field == "candidates"


# --- size and shape -------------------------------------------------------------------------------------------------


def test_a_large_snapshot_arrives_whole_and_leaves_nothing_staged(
    turnstile: RedisTurnstile, admin: redis.Redis
) -> None:
    offers = {uuid4(): 1 + n % 6000 for n in range(12_000)}
    accounts = {member: Standing(member - 3000, member) for member in range(1, 6001)}
    turnstile.rebuild(MARKET, Snapshot(2, 7, offers, {"installers": accounts}, {"installers": 6000}, {}))
    assert turnstile.open_counts(MARKET) == dict.fromkeys(range(1, 6001), 2)
    assert turnstile.standings(MARKET, "installers") == accounts
    found = list(admin.scan_iter("turnstile:*"))
    assert not [key for key in found if b"staged" in key]
    assert all(admin.ttl(key) == -1 for key in found)


def test_a_rebuild_that_the_server_lost_half_way_leaves_the_old_state(turnstile: RedisTurnstile) -> None:
    give(turnstile, an_ask(1, a_candidate(1)))
    live, lost = MarketKeys(MARKET), MarketKeys(MARKET, staging="lost")
    with pytest.raises(ColdTurnstile):
        turnstile._run("switch", [*live.all, *lost.all], [2, 0, 1, 1, 1, 1, "", "installers", 1])
    assert turnstile.open_counts(MARKET) == {1: 1}


def test_thousands_of_candidates_are_weighed_as_the_rule_says(turnstile: RedisTurnstile) -> None:
    dice, fake = random.Random(3), FakeTurnstile()
    fake.rebuild(MARKET, EMPTY)
    crowd = [a_candidate(m, weight=dice.randint(1, 9000), capacity=dice.randint(0, 2)) for m in range(1, 3001)]
    asks = [an_ask(n, *dice.sample(crowd, 2500), mode=mode) for n, mode in enumerate(Mode)]
    for mine, theirs in zip(give(turnstile, *asks), fake.reserve(MARKET, asks, generation=1), strict=True):
        assert (mine.member, mine.group, mine.sights) == (theirs.member, theirs.group, theirs.sights)
    assert turnstile.standings(MARKET, "installers") == fake.standings(MARKET, "installers")


def test_all_keys_of_a_market_are_in_one_slot(turnstile: RedisTurnstile, admin: redis.Redis) -> None:
    give(turnstile, an_ask(1, a_candidate(1)), an_ask(2, a_candidate(2), mode=Mode.CURSOR))
    found = list(admin.scan_iter("*"))
    assert len(found) == 9
    assert {key_slot(key) for key in found} == {key_slot(MARKET.encode())}

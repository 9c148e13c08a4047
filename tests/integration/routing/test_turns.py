"""Turns set right: by the reason with which an offer ended, by a person, and whoever dies in between."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import redis

from routing.corrector import Corrector
from routing.errors import BadInput, ColdTurnstile, TryLater
from routing.fairness import TURN
from routing.offer import Actor
from routing.policy import Mode
from routing.turns import Effect
from storage.postgres.books import load, read_on
from storage.postgres.engine import transaction
from storage.postgres.explain import Explain
from storage.postgres.export import Export
from storage.postgres.verify import Verify
from storage.redis.keys import MarketKeys
from storage.redis.turnstile import RedisTurnstile
from tests.command_line import fairturn
from tests.integration.routing.house import MARKET, House

KEYS = MarketKeys(MARKET)
ROTATION = "installers"
TABLE = {
    "reject_reasons": {"too_far": "return", "too_small": "penalise", "other": "consume"},
    "return_reasons": {"wrong_contact": "return", "not_interested": "penalise", "other": "consume"},
    "returns_percent": 100,
}
#: How an offer ends, and what that means for its turn.
ENDS = [
    ("reject", "too_far", {}, Effect.RETURN),
    ("reject", "too_small", {}, Effect.PENALISE),
    ("reject", "other", {}, None),
    ("give back", "wrong_contact", {}, Effect.RETURN),
    ("give back", "not_interested", {}, Effect.PENALISE),
    ("give back", "other", {}, None),
    ("expire", "", {"expired_turn": "consume"}, None),
    ("expire", "", {"expired_turn": "return"}, Effect.RETURN),
    ("expire", "", {"expired_turn": "penalise"}, Effect.PENALISE),
    ("complete", "", {}, None),
    ("rescind", "by_hand", {}, None),
]

NOBODY_LISTENS = "redis://127.0.0.1:1/0"
Accounts = dict[int, int]


class Killed(Exception):  # noqa: N818 - what the test does, not an error
    """A process dies here."""


def crowd(house: House, members: int = 4) -> list[int]:
    """Members of three weights, some turns behind them."""
    made = [house.member(f"m{n}", 40.01, capacity=50, weight=[1000, 1500, 333][n % 3]) for n in range(members)]
    for n in range(6):
        house.lead(f"00Q1000000000{n:05}")
    house.work()
    return made


def in_turnstile(house: House, rotation: str = ROTATION) -> Accounts:
    return {m: a.standing for m, a in house.turnstile.standings(MARKET, rotation).items() if a.standing}


def in_ledger(house: House, rotation: str = ROTATION) -> Accounts:
    with transaction(house.engine) as connection:
        books = load(connection, MARKET)
        assert read_on(connection, books)
    return {m: s for m, s in books.book(rotation).standing.items() if s}


def accounts(house: House) -> Accounts:
    """What turnstile and ledger agree on."""
    found = in_turnstile(house)
    assert found == in_ledger(house)
    assert sum(found.values()) == 0
    return found


def end(house: House, how: str, reason: str, lead: int) -> None:
    """End the lead's offer as its member, the clock or a manager does; its lead goes to nobody else."""
    offer = house.offer(lead)
    if how == "expire":
        house.overdue(lead)
        house.journey.expire()
    elif how == "reject":
        house.desk.reject(offer, reason, actor=Actor.MEMBER)
    elif how == "rescind":
        house.desk.rescind(offer, reason, then="hold", actor=Actor.MANAGER)
    else:
        house.desk.accept(offer, actor=Actor.MEMBER)
        if how == "complete":
            house.desk.complete(offer, actor=Actor.MEMBER)
        else:
            house.desk.give_back(offer, reason, actor=Actor.MEMBER)
    house.run("UPDATE leads SET state = 'withdrawn', reason = 'deleted' WHERE id = :lead AND state = 'new'", lead=lead)
    house.log.clear()


def moved(before: Accounts, after: Accounts) -> Accounts:
    found = {m: after.get(m, 0) - before.get(m, 0) for m in before.keys() | after.keys()}
    return {m: delta for m, delta in found.items() if delta}


@pytest.fixture
def server(house: House) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(house.redis_url) as client:
        yield client


def test_F9_the_reason_decides_whether_a_turn_is_used_up_given_back_or_paid_twice(
    house: House, audit: Callable[[], dict[str, int]]
) -> None:
    house.publish(answers=TABLE)
    crowd(house)
    corrected = 0
    for n, (how, reason, answers, effect) in enumerate(ENDS):
        house.publish(answers=TABLE | answers)
        before = accounts(house)
        lead = house.lead(f"00Q9000000000000{n:02}")
        house.work()
        asked = accounts(house)
        paid = moved(before, asked)
        assert paid[house.holder(lead) or 0] < 0
        end(house, how, reason, lead)
        house.nudged("outbox.free")
        sign = {Effect.RETURN: -1, Effect.PENALISE: 1, None: 0}[effect]
        assert moved(asked, accounts(house)) == {m: sign * delta for m, delta in paid.items() if sign}, (how, reason)
        corrected += effect is not None
        assert house.value("SELECT count(*) FROM corrections") == corrected
        assert house.value("SELECT count(*) FROM turns_owed") == 0
    assert audit() == {}
    report = Verify(house.engine).run()
    assert (report.breaches, report.drifts, report.corrections) == ((), 0, corrected)


def route(house: House, record: str) -> int:
    lead = house.lead(record)
    house.work()
    return lead


def of_fair_offer(house: House, record: str = "00Q900000000000001") -> tuple[Accounts, int]:
    """Accounts before an offer, and its lead; a rejection for distance gives its turn back."""
    house.publish(answers=TABLE)
    crowd(house)
    before = accounts(house)
    return before, route(house, record)


def die_before_the_commit(house: House) -> None:
    """Carry out what is owed, in the turnstile only."""
    with suppress(Killed), house.corrections.owed(MARKET) as owed:
        house.turnstile.correct(MARKET, owed.corrections, generation=owed.generation)
        raise Killed


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.FAIR])
def test_F9_modes_without_accounts_have_nothing_to_give_back(house: House, mode: Mode) -> None:
    house.publish(answers=TABLE, mode=str(mode))
    crowd(house)
    lead = route(house, "00Q900000000000001")
    served = house.turnstile.standings(MARKET, ROTATION)
    end(house, "reject", "too_far", lead)
    house.nudged("outbox.free")
    assert house.turnstile.standings(MARKET, ROTATION) == served
    assert house.value("SELECT count(*) FROM corrections") == 0


def test_F9_the_lead_s_story_tells_that_the_turn_was_returned_and_why(house: House) -> None:
    _, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    house.work()
    story = Explain(house.engine).lead(str(lead))
    assert story is not None
    assert [offer.turn for offer in story.offers] == ["returned"]
    (step,) = (step for step in story.steps if step.what == "turn returned")
    assert step.detail["reason"] == "too_far"
    assert 0 < step.detail["turns"] < 1
    (told,) = Export(house.engine).corrections()
    assert (told["effect"], told["reason"], told["offer_id"]) == ("return", "too_far", str(story.offers[0].offer_id))
    assert sum(part["turns_micro"] for part in told["turns"]) == 0


def test_F9_while_the_turnstile_is_away_the_ledger_sets_turns_right(house: House) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    alone = Corrector(
        book=house.corrections,
        turnstile=RedisTurnstile(NOBODY_LISTENS),
        mend=house.dispatcher.mend,
        stand_alone=house.ledger.stand_alone,
    )
    assert alone.correct() == 1
    assert in_ledger(house) == before
    assert house.ledger.standing_at(MARKET).alone
    assert house.dispatcher.come_back(MARKET)
    assert accounts(house) == before
    assert Verify(house.engine).run().breaches == ()


def test_F9_a_worker_that_dies_before_its_commit_leaves_a_correction_that_is_made_once(
    house: House, audit: Callable[[], dict[str, int]]
) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    die_before_the_commit(house)
    assert in_turnstile(house) == before
    assert audit() == {}, "the ledger owes it still, and the auditor knows"
    assert house.corrector.reap(MARKET, older_than_s=0) == 0
    assert house.corrector.correct() == 1
    assert accounts(house) == before
    assert house.turnstile.uncertain(MARKET, older_than_s=0) == []


def test_F9_a_worker_that_dies_after_its_commit_leaves_a_correction_that_is_forgotten(
    house: House, audit: Callable[[], dict[str, int]]
) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    with house.corrections.owed(MARKET) as owed:
        owed.save(house.turnstile.correct(MARKET, owed.corrections, generation=owed.generation))
    assert audit() == {}
    route(house, "00Q900000000000002")
    assert audit() == {}
    assert house.corrector.reap(MARKET, older_than_s=0) == 1
    assert house.corrector.reap(MARKET, older_than_s=0) == 0
    assert audit() == {}
    assert moved(before, accounts(house)) != {}


def test_F9_who_was_frozen_and_carries_a_correction_out_again_is_undone(
    house: House, audit: Callable[[], dict[str, int]]
) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    with house.corrections.owed(MARKET) as owed:
        late, generation = owed.corrections, owed.generation
    assert house.corrector.correct() == 1
    house.turnstile.correct(MARKET, late, generation=generation)  # the frozen one wakes up; its session is gone
    assert in_turnstile(house) != before
    assert house.corrector.reap(MARKET, older_than_s=0) == 1
    assert accounts(house) == before
    assert audit() == {}


def test_F9_a_correction_survives_the_loss_of_everything_in_redis(house: House, server: redis.Redis) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    die_before_the_commit(house)
    server.flushall()
    assert house.corrector.correct() == 1
    assert accounts(house) == before
    assert Verify(house.engine).run().sound


@pytest.mark.parametrize("first", ["correction", "decision"])
def test_F9_a_turnstile_that_gives_a_number_twice_was_set_back_and_is_rebuilt(
    house: House, server: redis.Redis, first: str
) -> None:
    before, lead = of_fair_offer(house)
    end(house, "reject", "too_far", lead)
    if first == "correction":
        house.corrector.correct()
    else:
        house.wanted.clear()  # nobody has heard of the correction
        route(house, "00Q900000000000002")
    generation = house.turnstile.mark(MARKET).generation
    server.hincrby(KEYS.state, "seq", -1)
    if first == "correction":
        route(house, "00Q900000000000002")
    else:
        house.corrector.correct()
    assert house.turnstile.mark(MARKET).generation > generation
    accounts(house)
    assert moved(before, in_ledger(house)) != {}
    assert house.value("SELECT count(*) FROM corrections") == 1
    report = Verify(house.engine).run()
    assert report.sound, report.breaches


def test_F9_each_turn_is_set_right_once_while_leads_are_routed_and_redis_is_flushed(
    house: House, audit: Callable[[], dict[str, int]], server: redis.Redis
) -> None:
    house.publish(answers=TABLE)
    crowd(house, 6)
    held = [house.lead(f"00Q7000000000{n:05}") for n in range(30)]
    house.work()
    new = [house.lead(f"00Q8000000000{n:05}") for n in range(30)]
    house.log.clear()

    def routes() -> None:
        for start in range(0, len(new), 5):
            house.journey.route(new[start : start + 5])

    def rejects() -> None:
        for lead in held:
            house.answers.reject(house.offer(lead), "too_far" if lead % 2 else "too_small", actor=Actor.MEMBER)
            house.outbound.free()

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(routes), pool.submit(rejects)]
        working += [pool.submit(keeps_correcting, house, working[:2]) for _ in range(2)]
        while not all(one.done() for one in working[:2]):
            server.flushall()
            wait(working[:2], timeout=1)
        for one in working:
            one.result()
    house.corrector.correct()
    with suppress(ColdTurnstile):  # flushed after the last turn was set right: then there is nothing to be reaped
        house.corrector.reap(MARKET, older_than_s=0)
    house.dispatcher.come_back(MARKET)
    accounts(house)
    assert audit() == {}
    effects = house.rows("SELECT effect, count(*) FROM corrections GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in effects] == [("penalise", 15), ("return", 15)]
    report = Verify(house.engine).run()
    assert report.sound, report.breaches


def keeps_correcting(house: House, working: list[Future[None]]) -> None:
    """As workers do it, who try later when a neighbour is unwell."""
    while not all(one.done() for one in working):
        with suppress(TryLater):
            house.corrector.correct()
        with suppress(TryLater):
            house.corrector.reap(MARKET, older_than_s=0.2)


def test_F15_turns_given_and_taken_by_hand_show_in_ledger_audit_and_bound(
    house: House, audit: Callable[[], dict[str, int]]
) -> None:
    first, *others = crowd(house)
    before, [earlier] = accounts(house), Verify(house.engine).run().worst
    assert (earlier.bound_turns, earlier.worst_turns < 2) == (len(others) / 2, True)
    given = house.corrections.by_hand(
        uuid4(), Effect.GIVE, member="m0", turns=3, reason="missed while on leave by mistake", actor="manager"
    )
    assert house.corrector.correct() == 1
    delta = moved(before, accounts(house))
    assert delta == given.deltas
    assert TURN * 3 - len(others) <= delta[first] <= TURN * 3
    assert all(delta[other] < 0 for other in others)
    assert house.rows("SELECT actor, detail ->> 'reason' FROM audit WHERE action = 'turns.give'") == [
        ("manager", "missed while on leave by mistake")
    ]
    [later] = Verify(house.engine).run().worst
    assert later.bound_turns == len(others) / 2 + delta[first] / TURN, "a correction is within the bound"
    assert 2 < later.worst_turns <= later.bound_turns
    house.corrections.by_hand(uuid4(), Effect.TAKE, member="m0", turns=3, reason="was right before", actor="manager")
    house.corrector.correct()
    assert accounts(house) == before
    assert audit() == {}
    assert Verify(house.engine).run().sound


def test_F15_a_correction_by_hand_is_made_once_however_often_it_is_asked_for(house: House) -> None:
    crowd(house)
    asked = uuid4()
    for _ in range(2):
        house.corrections.by_hand(asked, Effect.TAKE, member="m1", turns=1, reason="twice clicked", actor="manager")
        house.corrector.correct()
    assert house.value("SELECT count(*) FROM corrections") == 1
    assert house.value("SELECT count(*) FROM audit WHERE action = 'turns.take'") == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"turns": 0}, "turns"),
    ({"turns": 1_001}, "turns"),
    ({"reason": "  "}, "reason"),
    ({"member": "nobody"}, "member"),
    ({"rotation": "elsewhere"}, "rotation"),
]


def test_F15_wrong_input_is_named_with_its_fix(house: House) -> None:
    crowd(house)
    right: dict[str, Any] = {"member": "m0", "turns": 1, "reason": "because", "actor": "manager"}
    for wrong, field in WRONG:
        with pytest.raises(BadInput) as refused:
            house.corrections.by_hand(uuid4(), Effect.GIVE, **right | wrong)
        assert refused.value.field == field
    assert house.corrector.correct() == 0


def test_F15_a_manager_gives_a_turn_by_the_command_line(house: House) -> None:
    first, *_ = crowd(house)
    before = accounts(house)
    told = fairturn(house, "turns", "give", "m0", "1", "--reason", "the lead was a test of ours")
    assert told.stdout == "Member m0 is given 1 turn in rotation installers.\n", told.stderr
    assert round(moved(before, accounts(house))[first] / TURN, 3) == 1

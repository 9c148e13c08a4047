"""Turns set right: by the reason with which an offer ended, by a person, and whoever dies in between."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
import redis

from routing.auditor import Auditor
from routing.drift import Drift
from routing.errors import BadInput, TurnstileUnreachable
from routing.offer import Actor
from routing.policy import Mode
from routing.turns import Effect
from storage.postgres.books import load, read_on
from storage.postgres.engine import transaction
from storage.postgres.truth import Truth
from storage.postgres.verify import Verify
from storage.redis.audit import TurnstileAudit
from storage.redis.keys import MarketKeys
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

Accounts = dict[int, int]


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
    """End the lead's offer as its member, the clock or a manager does; its lead stays where it is."""
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
    house.log.clear()  # the lead would go on to the next member, whose turn is charged


def moved(before: Accounts, after: Accounts) -> Accounts:
    found = {m: after.get(m, 0) - before.get(m, 0) for m in before.keys() | after.keys()}
    return {m: delta for m, delta in found.items() if delta}


@pytest.fixture
def audit(house: House) -> Iterator[Callable[[], dict[str, int]]]:
    """Compare turnstile and ledger: what was found and mended."""
    inspected = TurnstileAudit(house.redis_url)
    auditor = Auditor(Truth(house.engine), inspected, lambda _market, _found: None)

    def found() -> dict[str, int]:
        drift = auditor.audit(MARKET)
        assert isinstance(drift, Drift)
        return {kind: n for kind, n in drift.counts().items() if n}

    yield found
    inspected.close()


@pytest.mark.parametrize(("how", "reason", "answers", "effect"), ENDS)
def test_F9_the_reason_decides_whether_a_turn_is_used_up_given_back_or_paid_twice(
    house: House,
    audit: Callable[[], dict[str, int]],
    how: str,
    reason: str,
    answers: dict[str, str],
    effect: Effect | None,
) -> None:
    house.publish(answers=TABLE | answers)
    crowd(house)
    before = accounts(house)
    lead = house.lead("00Q900000000000001")
    house.work()
    asked = accounts(house)
    paid = moved(before, asked)
    assert paid[house.holder(lead) or 0] < 0
    end(house, how, reason, lead)
    house.nudged("outbox.free")
    sign = {Effect.RETURN: -1, Effect.PENALISE: 1, None: 0}[effect]
    assert moved(asked, accounts(house)) == {m: sign * delta for m, delta in paid.items() if sign}
    assert house.value("SELECT count(*) FROM corrections") == (effect is not None)
    assert house.value("SELECT count(*) FROM turns_owed") == 0
    assert audit() == {}
    report = Verify(house.engine).run()
    assert report.breaches == ()
    assert report.drifts == 0

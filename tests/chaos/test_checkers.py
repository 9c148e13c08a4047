"""The checkers see what is wrong: each is shown one sound story and one that is broken in one place."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.chaos import checkers, timing
from tests.chaos.armed import KILLER
from tests.chaos.checkers import Evidence, Finding
from tests.chaos.history import History
from tests.chaos.ledger import LedgerView

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = "00Q000000000001AAA"


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


class Told(LedgerView):
    """A ledger of which nothing is asked but these."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        object.__setattr__(self, "answers", answers)

    def parked_events(self) -> set[str]:
        return set(self.__dict__["answers"].get("parked", ()))

    def decisions(self) -> list[dict[str, Any]]:
        return list(self.__dict__["answers"].get("decisions", ()))


def offer(lead: int, member: int, attempt: int, began: float, ended: float | None) -> dict[str, Any]:
    state = "offered" if ended is None else "expired"
    times = {"offered_at": at(began), "ended_at": None if ended is None else at(ended)}
    return {"lead_id": lead, "member_id": member, "attempt": attempt, "state": state, **times}


def lead(number: int = 1, **facts: Any) -> dict[str, Any]:
    sound = {"id": number, "salesforce_id": RECORD, "source_id": "L1", "state": "offered", "version": 3}
    return {**sound, "attempt": 1, "lat": 42.0, "lon": -73.0, **facts}


def record(**facts: Any) -> dict[str, Any]:
    sound = {"LastName": "Household", "Fairturn_Source_Id__c": "L1", "Fairturn_Version__c": 3}
    return {**sound, "Fairturn_Status__c": "offered", "Fairturn_Partner_Key__c": "M1", **facts}


@pytest.fixture
def story(tmp_path: Path) -> Callable[..., Evidence]:
    """What a run left behind, sound but for what is given."""

    def told(**facts: Any) -> Evidence:
        history = History(tmp_path / "history.jsonl")
        lines = [{"t": at(-100).timestamp()} | line for line in facts.pop("history", ())]
        history.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        seen = Evidence.__new__(Evidence)
        seen.history, seen.ledger = history, Told(facts.pop("ledger", {}))
        seen.leads, seen.records, seen.offers = [lead()], {RECORD: record()}, [offer(1, 1, 1, 0, None)]
        seen.members = {
            1: {"key": "M1", "capacity": 1, "active": True, "lat": 42.1, "lon": -73.0},
            2: {"key": "M2", "capacity": 2, "active": True, "lat": 42.2, "lon": -73.0},
        }
        seen.changes = [{"id": RECORD, "n": n, "values": {"Fairturn_Version__c": n}} for n in (1, 2, 3)]
        seen.created, seen.attempted, seen.deleted = {"L1": RECORD}, {"L1"}, set()
        for name, value in facts.items():
            setattr(seen, name, value)
        return seen

    return told


def capacities(**each: int) -> dict[str, Any]:
    return {"who": "config", "what": "capacity", "capacities": each}


Check = Callable[[Evidence], Iterator[Finding]]
ROOM = [capacities(M1=1, M2=2)]
BROKEN: list[tuple[Check, str, dict[str, Any]]] = [
    (checkers.nothing_is_lost, "lost", {"leads": []}),
    (checkers.nothing_is_lost, "lost", {"leads": [lead(state="new")]}),
    (checkers.nothing_is_lost, "kept", {"records": {}}),
    (checkers.nothing_is_made_up, "unexpected", {"changes": []}),
    (checkers.nothing_is_made_up, "duplicated", {"leads": [lead(1), lead(2)]}),
    (
        checkers.one_offer_at_a_time,
        "same_member_twice",
        {"offers": [offer(1, 1, 1, 0, 5), offer(1, 1, 2, 6, None)]},
    ),
    (checkers.one_offer_at_a_time, "two_open_offers", {"offers": [offer(1, 1, 1, 0, 5), offer(1, 2, 2, 4, None)]}),
    (checkers.one_offer_at_a_time, "attempts", {"offers": [offer(1, 1, 2, 0, 5)]}),
    (
        checkers.one_offer_at_a_time,
        "too_many_offers",
        {"offers": [offer(1, n, n, n * 10, n * 10 + 5) for n in range(1, 6)]},
    ),
    (
        checkers.nobody_is_over_capacity,
        "over_capacity",
        {"history": ROOM, "offers": [offer(1, 1, 1, 0, 5), offer(2, 1, 1, 4, None)]},
    ),
    (checkers.the_org_shows_the_ledger, "org_differs", {"leads": [lead(version=4)]}),
    (checkers.the_org_shows_the_ledger, "org_differs", {"offers": [offer(1, 2, 1, 0, None)]}),
    (
        checkers.versions_never_fall,
        "version_fell",
        {"changes": [{"id": RECORD, "values": {"Fairturn_Version__c": n}} for n in (2, 1)]},
    ),
    (
        checkers.nobody_waits_beside_room,
        "waits_beside_room",
        {"leads": [lead(), lead(2, state="waiting")]},
    ),
    (
        checkers.killers_are_stopped,
        "killer",
        {"history": [{"who": "failpoint", "what": "killer", "record": RECORD}] * 4},
    ),
]


@pytest.mark.parametrize("check", {check for check, _, _ in BROKEN}, ids=lambda check: check.__name__)
def test_a_sound_story_is_green(story: Callable[..., Evidence], check: Check) -> None:
    assert list(check(story(history=ROOM))) == []


@pytest.mark.parametrize(("check", "invariant", "facts"), BROKEN)
def test_a_broken_story_is_red(
    story: Callable[..., Evidence], check: Check, invariant: str, facts: dict[str, Any]
) -> None:
    assert {finding.invariant for finding in check(story(**{"history": ROOM, **facts}))} == {invariant}


def test_a_member_whose_room_shrank_keeps_what_it_holds_and_gets_no_more(story: Callable[..., Evidence]) -> None:
    history = [capacities(M1=2, M2=2), capacities(M1=1) | {"t": at(10).timestamp()}]
    held = [offer(1, 1, 1, 0, 90), offer(2, 1, 1, 1, None)]
    assert list(checkers.nobody_is_over_capacity(story(history=history, offers=held))) == []
    late = offer(3, 1, 1, 60, None)
    assert len(list(checkers.nobody_is_over_capacity(story(history=history, offers=[*held, late])))) == 1


def test_who_takes_the_last_place_when_it_is_left_holds_no_more_than_one(story: Callable[..., Evidence]) -> None:
    seen = story(history=ROOM, offers=[offer(1, 1, 1, 0, 5), offer(2, 1, 1, 5, None)])
    assert list(checkers.nobody_is_over_capacity(seen)) == []


def test_a_killers_event_that_was_parked_is_not_lost(story: Callable[..., Evidence]) -> None:
    killer = {RECORD: record(LastName=KILLER)}
    assert list(checkers.nothing_is_lost(story(leads=[], records=killer, ledger={"parked": [RECORD]}))) == []
    assert list(checkers.nothing_is_lost(story(leads=[], records=killer))) != []


def test_a_check_that_cannot_be_made_is_red(story: Callable[..., Evidence]) -> None:
    found = checkers.findings(cast("Any", story(leads=None)))
    assert found["nothing_is_lost"][0].invariant == "unchecked"


def test_recovery_is_counted_from_the_first_kill_that_a_lead_met(story: Callable[..., Evidence]) -> None:
    seen = story(history=[{"who": "org", "what": "created", "ids": {"L1": RECORD}, "t": at(0).timestamp()}])
    seen.ledger = Told({"decisions": [{"lead_id": 1, "attempt": 1, "at": at(9)}]})
    kills = [at(s).timestamp() for s in (-1, 2, 4, 10)]
    assert timing.recoveries(seen, kills) == [pytest.approx(7, abs=0.01)]
    assert timing.recoveries(seen, kills[3:]) == []

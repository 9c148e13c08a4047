"""The checkers see what is wrong: each is shown one sound story and one that is broken in one place."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from tests.chaos import answers, checkers, privacy, timing
from tests.chaos.armed import KILLER
from tests.chaos.checkers import Evidence, Finding
from tests.chaos.history import History
from tests.chaos.ledger import LedgerView
from tests.chaos.org import MARKER

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

    def numbering(self) -> list[dict[str, Any]]:
        return [
            {"key": "M1", "notices": 1, "count": 1, "min": 1, "max": 1} | self.__dict__["answers"].get("notices", {})
        ]

    def told(self) -> list[dict[str, Any]]:
        told = self.__dict__["answers"].get("told", ["offer.created"])
        return [{"offer": "offer-1-1", "member_id": 1, "what": what, "n": told.count(what)} for what in set(told)]

    def decisions(self) -> list[dict[str, Any]]:
        return list(self.__dict__["answers"].get("decisions", ()))


def offer(lead: int, member: int, attempt: int, began: float, ended: float | None, **facts: Any) -> dict[str, Any]:
    state = "offered" if ended is None else "expired"
    times = {"offered_at": at(began), "ended_at": None if ended is None else at(ended), "accepted_at": None}
    times |= {"expires_at": at(began + 20)}
    sound = {"id": f"offer-{lead}-{attempt}", "reason": None, "kind": "turn", "extensions": 0}
    return {"lead_id": lead, "member_id": member, "attempt": attempt, "state": state, **sound, **times, **facts}


def lead(number: int = 1, **facts: Any) -> dict[str, Any]:
    sound = {"id": number, "salesforce_id": RECORD, "source_id": "L1", "state": "offered", "version": 3}
    return {**sound, "attempt": 1, "lat": 42.0, "lon": -73.0, **facts}


def record(**facts: Any) -> dict[str, Any]:
    sound = {"LastName": "Household", "Fairturn_Source_Id__c": "L1", "Fairturn_Version__c": 3}
    last = {"Fairturn_Outcome__c": "offered", "Fairturn_Offer_Reason__c": None, "Fairturn_Offers__c": 1}
    times = dict.fromkeys(("Fairturn_Accepted_At__c", "Fairturn_Ended_At__c"))
    return {**sound, "Fairturn_Status__c": "offered", "Fairturn_Partner_Key__c": "M1", **last, **times, **facts}


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


def said(verb: str, *, status: int = 200, sent: float = 1, told: float = 2, **facts: Any) -> list[dict[str, Any]]:
    """A member gave an answer and was told what came of it."""
    line: dict[str, Any] = {"who": "member", "key": "k1", "offer": "offer-1-1", "member": "M1", "verb": verb}
    line |= {"reason": None, "odd": "", "problem": "", "status": status, **facts}
    return [
        line | {"what": "answer", "t": at(sent).timestamp()},
        line | {"what": "answered", "t": at(told).timestamp()},
    ]


def taken(**facts: Any) -> dict[str, Any]:
    """An offer that its member accepted."""
    return offer(1, 1, 1, 0, None, state="accepted", accepted_at=at(1.5)) | facts


DONE = offer(1, 1, 1, 0, 5, state="completed", accepted_at=at(1))
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
        checkers.one_offer_at_a_time,
        "too_many_offers",
        {"offers": [offer(1, n, n, n * 10, n * 10 + 5, state="withdrawn", reason="work_overdue") for n in range(1, 6)]},
    ),
    (
        checkers.nobody_is_over_capacity,
        "over_capacity",
        {"history": ROOM, "offers": [offer(1, 1, 1, 0, 5), offer(2, 1, 1, 4, None)]},
    ),
    (checkers.the_org_shows_the_ledger, "org_differs", {"leads": [lead(version=4)]}),
    (checkers.the_org_shows_the_ledger, "org_differs", {"offers": [offer(1, 2, 1, 0, None)]}),
    (checkers.the_org_shows_the_ledger, "org_differs", {"offers": [offer(1, 1, 1, 0, None, accepted_at=at(1))]}),
    (
        checkers.the_org_shows_the_ledger,
        "org_differs",
        {"leads": [lead(state="done")], "records": {RECORD: record(Fairturn_Status__c="done")}, "offers": [DONE]},
    ),
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
    (answers.every_answer_stands, "answer_lost", {"history": said("accept")}),
    (answers.every_answer_stands, "answer_lost", {"history": said("accept"), "offers": []}),
    (answers.every_answer_stands, "answer_lost", {"history": said("reject"), "offers": [taken()]}),
    (
        answers.every_answer_stands,
        "answer_of_another",
        {"history": said("accept"), "offers": [taken(member_id=2)]},
    ),
    (
        answers.every_answer_stands,
        "answer_changed",
        {"history": said("reject", reason="other"), "offers": [taken(state="rejected", ended_at=at(1.5), reason="x")]},
    ),
    (
        answers.every_answer_stands,
        "answer_at_another_time",
        {"history": said("accept"), "offers": [taken(accepted_at=at(7))]},
    ),
    (
        answers.every_answer_stands,
        "answered_late",
        {"history": said("accept"), "offers": [taken(expires_at=at(1))]},
    ),
    (answers.nobody_answers_for_a_member, "answer_made_up", {"offers": [taken()]}),
    (
        answers.nobody_answers_for_a_member,
        "answer_made_up",
        {"offers": [taken()], "history": said("accept", status=409, problem="offer-expired")},
    ),
    (
        answers.nobody_answers_for_a_member,
        "extensions",
        {"offers": [taken()], "history": [*said("accept"), *said("extend", key="k2")]},
    ),
    (
        answers.nobody_is_accepted_twice,
        "accepted_twice",
        {"offers": [taken(), taken(id="other", member_id=2, accepted_at=at(2))]},
    ),
    (answers.nobody_is_accepted_twice, "accepted_late", {"offers": [taken(accepted_at=at(20))]}),
    (answers.leads_agree_with_their_offers, "lead_differs", {"offers": [taken()]}),
    (answers.leads_agree_with_their_offers, "lead_differs", {"leads": [lead(state="done")]}),
    (answers.leads_agree_with_their_offers, "lead_differs", {"leads": [lead(state="withdrawn")]}),
    (
        answers.refusals_are_true,
        "seen_by_another",
        {"history": said("accept", status=409, problem="already-answered", odd="rival")},
    ),
    (answers.refusals_are_true, "refused_strangely", {"history": said("accept", status=500, problem="blank")}),
    (
        answers.refusals_are_true,
        "expired_early",
        {"history": said("accept", status=409, problem="offer-expired", told=19)},
    ),
    (
        answers.one_key_has_one_answer,
        "one_key",
        {"history": [*said("accept"), *said("accept", status=409, problem="already-answered")]},
    ),
    (answers.one_key_has_one_answer, "one_key", {"history": said("accept")[:1]}),
    (answers.notices_are_whole, "notice_missing", {"ledger": {"notices": {"notices": 3, "count": 2, "max": 3}}}),
    (answers.notices_are_whole, "notices", {"ledger": {"told": ["offer.created", "offer.created"]}}),
    (answers.notices_are_whole, "notices", {"offers": [taken()]}),
]


@pytest.mark.parametrize(
    "check", list(dict.fromkeys(check for check, _, _ in BROKEN)), ids=lambda check: check.__name__
)
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


def test_four_turns_and_what_was_taken_back_by_hand_are_not_too_many(story: Callable[..., Evidence]) -> None:
    by_hand = offer(1, 9, 1, 0, 5, state="withdrawn", reason="by_hand")
    turns = [offer(1, n, n, n * 10, n * 10 + 5) for n in range(2, 6)]
    assert list(checkers.one_offer_at_a_time(story(offers=[by_hand, *turns]))) == []


def test_an_answer_whose_fate_was_unknown_may_have_been_taken(story: Callable[..., Evidence]) -> None:
    asked, _ = said("accept")
    history = [asked, asked | {"what": "unknown", "status": 0, "problem": "ConnectionError"}]
    refused = said("accept", status=409, problem="wrong-state")[1]
    assert list(answers.nobody_answers_for_a_member(story(history=[*history, refused], offers=[taken()]))) == []


def test_a_completed_lead_shows_who_had_it(story: Callable[..., Evidence]) -> None:
    shown = record(Fairturn_Status__c="done", Fairturn_Outcome__c="completed")
    shown |= {"Fairturn_Accepted_At__c": "2026-01-01T00:00:01.000+0000"}
    shown |= {"Fairturn_Ended_At__c": "2026-01-01T00:00:05.000+0000"}
    seen = story(leads=[lead(state="done")], records={RECORD: shown}, offers=[DONE])
    assert list(checkers.the_org_shows_the_ledger(seen)) == []
    assert list(answers.leads_agree_with_their_offers(seen)) == []


@pytest.mark.parametrize("before", range(4))
def test_the_marker_is_found_in_text_in_capitals_and_inside_messages(before: int) -> None:
    wanted = privacy.needles(MARKER)
    body = b"x" * before + f"{MARKER}-name-1".encode()
    assert privacy.holds(body, wanted)
    assert privacy.holds(body.upper(), wanted)
    assert privacy.holds(b64encode(body), wanted)
    assert not privacy.holds(b64encode(b"lead 17, an id alone"), wanted)


def test_the_marker_is_found_where_two_pieces_of_a_long_file_meet(tmp_path: Path) -> None:
    file = tmp_path / "long.log"
    file.write_bytes(b"." * (privacy.CHUNK - 4) + MARKER.encode() + b"." * 50)
    assert any(privacy.holds(piece, privacy.needles(MARKER)) for piece in privacy.pieces(file))


def test_every_value_of_the_broker_is_looked_into(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("leads", json.dumps({"body": b64encode(f'[["{MARKER}"]]'.encode()).decode()}))
        client.hset("unacked", "tag", MARKER)
        client.zadd("scores", {MARKER: 1})
        client.set(MARKER, 1)
    wanted = privacy.needles(MARKER)
    assert sum(bool(privacy.holds(text, wanted)) for _, text in privacy.in_valkey(redis_url)) >= 4


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

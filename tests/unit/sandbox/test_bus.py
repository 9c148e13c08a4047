import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.bus import Bus, UnknownReplayId
from sandbox.clock import Clock

HOUR_S = 3600
LEAD = frozenset({"Lead"})


def a_bus() -> Bus:
    return Bus(Clock(), random.Random(1))


def read(bus: Bus, place: int, entities: frozenset[str] = LEAD) -> list[str]:
    return [event.event_id for _, event in bus.read(place, entities)]


@given(st.lists(st.sampled_from(["Lead", "Account"]), max_size=20), st.integers(min_value=0, max_value=19))
def test_reading_after_any_replay_id_gives_exactly_the_rest(entities: list[str], at: int) -> None:
    bus = a_bus()
    events = [bus.event(entity, "schema", b"") for entity in entities]
    if at < len(events):
        rest = [event.event_id for event in events[at + 1 :] if event.entity == "Lead"]
        assert read(bus, bus.after(events[at].replay_id)) == rest


def test_the_first_8_bytes_of_a_replay_id_are_enough() -> None:
    bus = a_bus()
    first, second = (bus.event("Lead", "schema", b"") for _ in range(2))
    assert len(first.replay_id) == 10
    assert read(bus, bus.after(first.replay_id[:8])) == [second.event_id]


@pytest.mark.parametrize("replay", [b"", b"x", b"\0" * 8, b"\0" * 10, b"\1" * 10, b"\0" * 12])
def test_a_replay_id_that_was_never_given_out_is_unknown(replay: bytes) -> None:
    bus = a_bus()
    bus.event("Lead", "schema", b"")
    with pytest.raises(UnknownReplayId):
        bus.after(replay)


def test_after_72_hours_an_event_and_its_replay_id_are_gone() -> None:
    bus = a_bus()
    old = bus.event("Lead", "schema", b"")
    bus.clock.advance(71 * HOUR_S)
    young = bus.event("Lead", "schema", b"")
    assert read(bus, bus.earliest()) == [old.event_id, young.event_id]
    bus.clock.advance(1.01 * HOUR_S)
    assert read(bus, bus.earliest()) == [young.event_id]
    with pytest.raises(UnknownReplayId):
        bus.after(old.replay_id)


def test_a_tick_keeps_a_quiet_readers_position_alive() -> None:
    bus = a_bus()
    old = bus.event("Lead", "schema", b"")
    bus.clock.advance(50 * HOUR_S)
    tick = bus.tick()
    bus.clock.advance(50 * HOUR_S)
    new = bus.event("Lead", "schema", b"")
    with pytest.raises(UnknownReplayId):
        bus.after(old.replay_id)
    assert read(bus, bus.after(tick)) == [new.event_id]


def test_places_stay_right_when_the_events_before_them_are_purged() -> None:
    bus = a_bus()
    bus.event("Lead", "schema", b"")
    place = bus.latest()
    bus.clock.advance(100 * HOUR_S)
    new = bus.event("Lead", "schema", b"")
    bus.purge()
    assert read(bus, place) == [new.event_id]


def test_replay_ids_leave_gaps() -> None:
    bus = a_bus()
    numbers = [bus.event("Lead", "schema", b"").number for _ in range(50)]
    assert any(after - before > 1 for before, after in pairwise(numbers))
    assert numbers == sorted(set(numbers))

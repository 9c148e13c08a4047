from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from storage.postgres.audit import Audit
from storage.postgres.engine import transaction
from storage.postgres.heartbeats import Heartbeats
from storage.postgres.parked import Parked
from storage.postgres.timeline import Happening, Timeline, add_many
from tests.integration.storage.postgres import rows


def test_a_dead_letter_keeps_its_input_until_it_is_resolved(engine: sa.Engine) -> None:
    shelf = Parked(engine)
    letter_id = shelf.park("csv_lead", "leads.csv:7", "latitude: 91 is out of range.", input={"lat": float("inf")})
    letter = shelf.get(letter_id)
    assert letter is not None
    assert (letter.kind, letter.input, letter.resolved_at) == ("csv_lead", {"lat": "inf"}, None)
    assert shelf.list() == shelf.list(kind="csv_lead") == [letter]
    assert shelf.list(kind="event") == []
    assert (shelf.resolve(letter_id), shelf.resolve(letter_id), shelf.resolve(0)) == (True, False, False)
    assert (shelf.count(), shelf.list(), len(shelf.list(resolved=True)), shelf.get(0)) == (0, [], 1, None)


def test_the_letters_of_one_file_are_closed_together(engine: sa.Engine) -> None:
    shelf = Parked(engine)
    for kind, ref in (("csv_member", "a_b.csv:2"), ("csv_member", "a_b.csv:9"), ("csv_member", "axb.csv:2")):
        shelf.park(kind, ref, "lat: out of range.")
    shelf.park("csv_lead", "a_b.csv:2", "lat: out of range.")
    assert shelf.resolve_all("csv_member", "a_b.csv:") == 2
    assert [(one.kind, one.ref) for one in shelf.list()] == [("csv_member", "axb.csv:2"), ("csv_lead", "a_b.csv:2")]
    assert shelf.resolve_all("csv_member", "a_b.csv:") == 0


def test_the_same_thing_parked_again_is_one_letter_and_open(engine: sa.Engine) -> None:
    shelf = Parked(engine)
    first = shelf.park("event", "e-1", "unreadable", raw=b"\x00\xff")
    shelf.resolve(first)
    assert shelf.park("event", "e-1", "still unreadable\x00", raw=b"\x00\xff") == first
    (letter,) = shelf.list()
    assert (letter.reason, letter.raw) == ("still unreadable", b"\x00\xff")


def test_a_heartbeat_is_the_last_sign_of_life(engine: sa.Engine) -> None:
    hearts = Heartbeats(engine)
    hearts.beat("queue:leads", "worker-1")
    hearts.beat("queue:leads", "worker-2")
    hearts.beat("beat", "worker-3")
    assert [(one.name, one.worker) for one in hearts.all()] == [("beat", "worker-3"), ("queue:leads", "worker-2")]
    assert all(0 <= one.age_s < 60 for one in hearts.all())


def test_E1_a_timeline_is_read_in_order_with_who_when_and_under_which_policy(engine: sa.Engine) -> None:
    later, earlier = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    with transaction(engine) as connection:
        lead, other = rows.add_lead(connection, 1), rows.add_lead(connection, 2)
        add_many(
            connection,
            [
                Happening(lead, "offered", policy_version=3, at=later, detail={"member": 7, "km": float("nan")}),
                Happening(other, "received"),
                Happening(lead, "received", actor="salesforce", task_id="t-1", at=earlier),
            ],
        )
        add_many(connection, [])
    steps = Timeline(engine).of(lead)
    assert [(s.what, s.actor, s.task_id, s.policy_version) for s in steps] == [
        ("received", "salesforce", "t-1", None),
        ("offered", "fairturn", None, 3),
    ]
    assert steps[1].detail == {"member": 7, "km": "nan"}


def test_the_audit_trail_is_read_newest_first(engine: sa.Engine) -> None:
    trail = Audit(engine)
    trail.add("ann", "policy.published", version=1)
    trail.add("bob", "members.paused", members=["a"])
    assert [(entry.actor, entry.detail) for entry in trail.latest()] == [
        ("bob", {"members": ["a"]}),
        ("ann", {"version": 1}),
    ]
    assert len(trail.latest(limit=1)) == 1

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from routing.errors import Refused
from routing.lead import Point
from storage.postgres.audit import Audit
from storage.postgres.members import ImportResult, MemberRow, Members

ALBANY, BUFFALO = Point(42.65, -73.75), Point(42.88, -78.87)


def row(key: str, **over: object) -> MemberRow:
    return replace(MemberRow(key=key, name=f"Solar {key}", market="us", tier="gold", places=(ALBANY,)), **over)  # type: ignore[arg-type]  # field values of a test


def test_an_imported_member_is_on_the_roster_with_all_its_branches(engine: sa.Engine) -> None:
    roster = Members(engine)
    roster.upsert([row("a", places=(ALBANY, BUFFALO), capacity=3), row("b", market="au")], actor="cli")
    us = roster.roster("us")
    assert [(m.key, m.places, m.capacity, m.active) for m in us.members] == [("a", (ALBANY, BUFFALO), 3, True)]
    assert [m.key for m in roster.roster("au").members] == ["b"]
    assert roster.roster("nowhere").version == 0


def test_I5_the_same_file_twice_changes_nothing(engine: sa.Engine) -> None:
    roster, file = Members(engine), [row(str(n), attributes={"n": n, "x": [1.5, None]}) for n in range(50)]
    first = roster.upsert(file, actor="cli")
    before, entries = roster.versions(), len(Audit(engine).latest())
    second = roster.upsert(file, actor="cli")
    assert (first.added, first.changed, first.same, len(first.member_ids_changed)) == (50, 0, 0, 50)
    assert second == ImportResult(0, 0, 50, ())
    assert (roster.versions(), len(Audit(engine).latest())) == (before, entries)


def test_one_import_raises_the_version_once_in_each_market_it_touches(engine: sa.Engine) -> None:
    roster = Members(engine)
    roster.upsert([row("a"), row("b", market="au"), row("c", market="de")], actor="cli")
    before = roster.versions()
    result = roster.upsert([row("a", market="au"), row("b", market="au"), row("c", market="de")], actor="cli")
    after = roster.versions()
    assert (result.added, result.changed, result.same) == (0, 1, 2)
    assert {market: after[market] - before[market] for market in after} == {"us": 1, "au": 1, "de": 0}


def test_every_field_that_differs_is_a_change(engine: sa.Engine) -> None:
    roster = Members(engine)
    roster.upsert([row("a")], actor="cli")
    changes: tuple[dict[str, object], ...] = (
        {"capacity": 9},
        {"weight": 1500},
        {"places": (BUFFALO,)},
        {"tier": ""},
        {"attributes": {"a": 1}},
    )
    for change in changes:
        assert roster.upsert([row("a", **change)], actor="cli").changed == 1
        assert roster.upsert([row("a", **change)], actor="cli").same == 1


def test_an_import_keeps_what_the_file_does_not_know(engine: sa.Engine) -> None:
    roster = Members(engine)
    roster.upsert([row("a"), row("b")], actor="cli")
    roster.link({"a": "001000000000001AAA"})
    roster.pause(["b"])
    assert roster.upsert([row("a"), row("b")], actor="cli").same == 2
    assert [(held.row.salesforce_id, held.row.active) for held in roster.all()] == [
        ("001000000000001AAA", True),
        (None, False),
    ]


def test_pausing_and_resuming_change_the_roster_once(engine: sa.Engine) -> None:
    roster = Members(engine)
    ids = roster.upsert([row("a"), row("b")], actor="cli").member_ids_changed
    before = roster.versions()["us"]
    assert roster.pause(["a", "b", "unknown"]) == list(ids)
    assert roster.pause(["a"]) == []
    assert roster.versions()["us"] == before + 1
    assert [m.active for m in roster.roster("us").members] == [False, False]
    assert roster.resume(["a"]) == [ids[0]]


def test_a_salesforce_id_belongs_to_one_member(engine: sa.Engine) -> None:
    roster = Members(engine)
    roster.upsert([row("a"), row("b")], actor="cli")
    assert roster.link({"a": "001A", "unknown": "001B"}) == 1
    assert roster.link({"a": "001A"}) == 0
    with pytest.raises(Refused):
        roster.link({"b": "001A"})


def test_of_a_key_given_twice_the_last_row_counts(engine: sa.Engine) -> None:
    roster = Members(engine)
    assert roster.upsert([row("a", capacity=1), row("a", capacity=2)], actor="cli").added == 1
    assert roster.all()[0].row.capacity == 2


def test_names_that_postgres_cannot_hold_are_made_holdable(engine: sa.Engine) -> None:
    roster = Members(engine)
    odd = row("a", name="Sol\x00ar \ud800", attributes={"note\x00": "\udfff"})
    assert roster.upsert([odd], actor="cli").added == 1
    assert roster.upsert([odd], actor="cli").same == 1


def test_imports_at_the_same_time_add_each_member_once(engine: sa.Engine) -> None:
    roster, file = Members(engine), [row(str(n)) for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: roster.upsert(file, actor="cli"), range(4)))
    assert sorted(result.added for result in results) == [0, 0, 0, 200]
    assert roster.versions() == {"us": 2}

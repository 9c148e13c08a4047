"""The past as it was: rosters by version and by second, capacities, turns and policy, as the ledger has them."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from routing.errors import BadInput
from routing.lead import Point
from routing.member import Roster
from storage.postgres.books import Shelf, keep
from storage.postgres.engine import transaction
from storage.postgres.history import History
from storage.postgres.last_before import last_before
from storage.postgres.members import MemberRow, Members
from tests.integration.routing.house import MARKET, House


def _now(house: House) -> datetime:
    found: datetime = house.value("SELECT clock_timestamp()")
    return found


def _same(one: Roster, other: Roster) -> bool:
    return (one.market, one.version, list(one)) == (other.market, other.version, list(other))


def test_N12_every_version_of_the_roster_is_read_as_the_dispatcher_read_it(house: House) -> None:
    kept: list[Roster] = []
    whens: list[datetime] = []

    def note() -> None:
        kept.append(Members(house.engine).roster(MARKET, full=True))
        whens.append(_now(house))

    first = house.member("one", tier="gold", attributes={"skills": ["battery"]})
    note()
    house.member("two", 40.1, -75.1, capacity=3)
    note()
    house.member("one", 41.0, -76.0, tier="silver", weight=2500)  # moved and of another tier
    note()
    house.members.pause(["two"])
    note()
    house.members.set_present(first, False, actor="test")
    note()
    rows = [MemberRow(key="one", name="one", market="elsewhere", places=(Point(1.0, 2.0), Point(3.0, 4.0)))]
    house.members.upsert(rows, actor="test")
    note()
    house.publish(mode="cursor")
    note()

    history = History(house.engine)
    assert [r.version for r in kept] == sorted({r.version for r in kept})
    for roster in kept:
        assert _same(history.roster_at(MARKET, roster.version, full=True), roster)
    for (before, when), (after, _) in pairwise(zip(kept, whens, strict=True)):
        then = {s.market: s for s in history.stood(when)}[MARKET]
        assert (then.roster_version, before.version < after.version) == (before.version, True)
    elsewhere = history.roster_at("elsewhere", Members(house.engine).versions()["elsewhere"], full=True)
    assert [(m.key, len(m.places)) for m in elsewhere] == [("one", 2)]
    assert [row["market"] for row in history.member("one") if row["member"]][-1] == "elsewhere"


def test_N12_capacity_turns_and_policy_are_those_of_any_second(house: House) -> None:
    one, two = house.member("one", capacity=3), house.member("two", 40.01, -75.01)
    seen: list[tuple[datetime, dict[str, int], dict[int, int], int]] = []
    names = {one: "one", two: "two"}

    def note() -> None:
        open_ = {names[m]: n for m, n in house.ledger.open_counts(MARKET).items()}
        owed = {m: s.standing for m, s in house.turnstile.standings(MARKET, "installers").items() if s.standing}
        seen.append((_now(house), open_, owed, house.ledger.published().version))

    leads = []
    for n in range(4):
        leads.append(house.lead(f"lead-{n}"))
        house.work()
        note()
    house.overdue(leads[0])
    house.tick()
    note()
    house.publish(answer_within="2h")
    note()
    with transaction(house.engine) as connection:  # a mark, from which later times are added up
        books = Shelf().read(connection, MARKET)
        assert keep(connection, books)
    house.dispatcher.rebuild(MARKET)
    house.members.pause(["two"])
    house.lead("lead-9")
    house.work()
    note()

    history = History(house.engine)
    for when, open_, owed, version in seen:
        policy = house.ledger.policy(version)
        assert {h.member: h.open for h in history.capacity_at(when, policy) if h.open} == open_
        told = {a.member: round(a.standing * 1e6) for a in history.turns_at(when) if a.standing}
        assert told == {names[m]: s for m, s in owed.items()}
        assert {s.policy_version for s in history.stood(when)} == {version}
    made = house.rows("SELECT generation, seq, at FROM decisions UNION SELECT generation, seq, at FROM corrections")
    assert len({row.generation for row in made}) == 2
    moments = [row.at + timedelta(microseconds=n) for row in made for n in (-1, 0, 1)]
    for when in (*moments, made[0].at - timedelta(days=1)):
        upto = max(((row.generation, row.seq) for row in made if row.at <= when), default=(0, 0))
        with transaction(house.engine) as connection:
            assert last_before(connection, MARKET, when) == upto
    by_name = {h.member: h for h in history.capacity_at(_now(house), house.ledger.published())}
    assert (by_name["one"].capacity, by_name["two"].capacity, by_name["two"].active) == (3, 5, False)


def test_before_anything_was_known_there_is_nothing_to_see(house: House) -> None:
    with pytest.raises(BadInput, match="Give a later one"):
        History(house.engine).stood(datetime.fromisoformat("2001-01-01T00:00:00+00:00"))


def test_counting_a_members_offers_writes_no_history(house: House) -> None:
    house.member("one")
    query = "SELECT count(*) FROM member_history"
    before = house.value(query)
    house.lead("lead-1")
    house.work()
    assert house.value(query) == before


def test_a_change_that_nobody_announced_counts_from_the_next_version_on(house: House) -> None:
    house.member("one")
    version = Members(house.engine).versions()[MARKET]
    house.run("UPDATE members SET capacity = 2")
    house.member("two")
    history = History(house.engine)
    assert [m.capacity for m in history.roster_at(MARKET, version)] == [None]
    assert [m.capacity for m in history.roster_at(MARKET, version + 1)] == [2, None]


def test_a_member_that_is_deleted_was_there_before(house: House) -> None:
    gone = house.member("one")
    version = Members(house.engine).versions()[MARKET]
    with transaction(house.engine) as connection:
        connection.execute(sa.text("DELETE FROM members WHERE id = :id"), {"id": gone})
    history = History(house.engine)
    assert [m.key for m in history.roster_at(MARKET, version)] == ["one"]
    assert [m.key for m in history.roster_at(MARKET, version + 1)] == []

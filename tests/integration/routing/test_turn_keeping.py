"""Turns beside decisions, on real servers: scopes, leads given by hand, absences, windows, minimums, bounds."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import redis

from config import policy as policy_file
from routing.fairness import TURN
from routing.offer import Actor
from routing.rotation import is_over
from routing.simulation.outcome import of_history
from routing.turn_keeper import TurnKeeper
from routing.turns import Effect
from storage.postgres.explain import Explain
from storage.postgres.export import Export
from storage.postgres.followed import FollowedAccounts, RotationFairness
from storage.postgres.reexecution import Reexecution
from storage.postgres.turn_book import TurnBook
from storage.postgres.verify import Verify
from tests.e2e.recount import accounts as recounted
from tests.e2e.recount import bounds
from tests.integration.routing.house import MARKET, House, document
from tests.integration.simulation.history import read

ROTATION = "installers"
_numbers = count(1)


@pytest.fixture
def keeper(house: House) -> TurnKeeper:
    return TurnKeeper(
        book=TurnBook(house.engine),
        follows=FollowedAccounts(house.engine),
        ledger=house.ledger,
        markets=lambda: [MARKET],
        correct=house.corrector.correct,
        forget=house.turnstile.forget,
    )


def crowd(house: House, members: int, **over: Any) -> list[int]:
    return [house.member(f"m{n}", 40.01, capacity=10_000, **over) for n in range(members)]


def leads(house: House, number: int, **body: Any) -> list[int]:
    """So many leads, routed one behind the other; to whom they went."""
    records = [f"00Q{next(_numbers):012}AAA" for _ in range(number)]
    changes = [
        house.change(r, body={"country": "US", "city": "Town", "postal_code": "1", "lat": 40.0, "lon": -75.0} | body)
        for r in records
    ]
    house.journey.intake(house.store(changes))
    house.log.clear()
    ids = [house.id_of(r) for r in records]
    house.dispatcher.route(ids)
    return [house.holder(one) or 0 for one in ids]


def standings(house: House, rotation: str = ROTATION) -> dict[int, int]:
    return {m: one.standing for m, one in house.turnstile.standings(MARKET, rotation).items() if one.standing}


def corrections(house: House) -> list[Any]:
    return house.rows("SELECT effect, reason, rotation, member, delta FROM corrections ORDER BY generation, seq")


def sound(house: House) -> bool:
    report = Verify(house.engine).run()
    assert report.breaches == ()
    return True


# --- scopes


def test_F4_pools_rings_and_tiers_keep_accounts_of_their_own_over_restarts_and_a_lost_turnstile(house: House) -> None:
    made = document(tiers="ranked", scope="pool_ring", countries=["US"])
    other = dict(made["pools"][0], name="others", countries=["DE"])
    house.publish_document(made | {"pools": [made["pools"][0], other]})
    for n, tier in enumerate(["gold", "gold", "gold", ""]):
        house.member(f"m{n}", 40.01, tier=tier, capacity=10_000)
    first = leads(house, 5)
    before = standings(house, "installers/ring1/tier1")
    assert before
    leads(house, 4, country="DE")
    assert standings(house, "installers/ring1/tier1") == before, "another pool has moved it"
    assert standings(house, "others/ring1/tier1")
    with redis.Redis.from_url(house.redis_url) as server:
        server.flushall()
    restarted = House(house.database_url, house.redis_url)
    try:
        after = leads(restarted, 4)
        got = Counter([*first, *after])
        assert sorted(got.values()) == [3, 3, 3], "the order went on where it stopped"
    finally:
        restarted.close()
    assert sound(house)


# --- leads given by hand


def owner(member: int) -> str:
    return f"005{member:012}AAA"


def linked(house: House, members: int) -> list[int]:
    """Members whom Salesforce knows."""
    made = crowd(house, members)
    for one in made:
        house.run("UPDATE members SET salesforce_id = :owner WHERE id = :member", owner=owner(one), member=one)
    return made


def give_by_hand(house: House, member: int) -> None:
    """A lead that nobody was asked for becomes the member's own in Salesforce."""
    record = f"00Q{next(_numbers):012}AAA"
    whole = {"country": "US", "city": "Town", "postal_code": "1", "lat": 40.0, "lon": -75.0, "owner_id": owner(0)}
    house.journey.intake(house.store([house.change(record, body=whole)]))
    house.log.clear()
    house.journey.intake(house.store([house.change(record, "UPDATE", body={"owner_id": owner(member)})]))
    house.log.clear()
    lead = house.id_of(record)
    assert (house.state(lead)[0], house.holder(lead)) == ("accepted", member)


@pytest.mark.parametrize(("counts", "later"), [(True, True), ("moved", False), (False, False)])
def test_F10_a_lead_given_by_hand_delays_the_next_turn_by_exactly_one_where_it_counts(
    house: House, keeper: TurnKeeper, counts: Any, later: bool
) -> None:
    house.publish(turns={"by_hand_counts": counts})
    four = linked(house, 4)
    order = leads(house, 8)[4:]
    assert sorted(order) == four
    give_by_hand(house, order[0])
    keeper.keep()
    keeper.keep()
    assert house.value("SELECT count(*) FROM turns_to_count") == 0
    after = [*order[1:], order[0]] if later else order
    assert leads(house, 12) == after * 3, "the lead by hand was its turn, and the others' order is as it was"
    effects = [row.effect for row in corrections(house)]
    assert effects == (["count"] if later else [])
    assert sum(standings(house).values()) == 0
    assert sound(house)


@pytest.mark.parametrize(("counts", "effects"), [(True, ["return", "take"]), (False, ["return", "take", "count"])])
def test_F10_a_lead_that_was_moved_costs_its_new_member_once_and_nothing_where_it_does_not_count(
    house: House, keeper: TurnKeeper, counts: bool, effects: list[str]
) -> None:
    house.publish(turns={"by_hand_counts": counts})
    four = linked(house, 4)
    leads(house, 5)
    before = standings(house)
    [first] = leads(house, 1, owner_id=owner(0))
    lead = house.value("SELECT max(id) FROM leads")
    record = house.value("SELECT salesforce_id FROM leads WHERE id = :lead", lead=lead)
    new = next(m for m in four if m != first)
    house.journey.intake(house.store([house.change(record, "UPDATE", body={"owner_id": owner(new)})]))
    house.log.clear()
    house.corrector.correct()
    for _ in range(2):
        keeper.keep()
    assert [row.effect for row in corrections(house)] == effects
    after = standings(house)
    if counts:
        assert after[new] < before.get(new, 0), "as if it had been its turn"
        assert after.get(first, 0) > before.get(first, 0)
    else:
        assert after == before, "the turn went back, and nobody paid"
    assert sound(house)


# --- absences


def away(house: House, key: str, while_away: int, keeper: TurnKeeper) -> None:
    house.members.set_present(house.members.id_of(key) or 0, False, actor="test")
    leads(house, while_away)
    house.members.set_present(house.members.id_of(key) or 0, True, actor="test")
    keeper.keep()
    keeper.keep()


@pytest.mark.parametrize(
    ("absence", "due", "told"),
    [("none", 10, ""), ("full", 18, "full catch-up"), ({"catch_up": 25}, 12, "catch-up of 25 % a day")],
)
def test_F6_who_returns_gets_by_the_policy_that_its_correction_names(
    house: House, keeper: TurnKeeper, absence: Any, due: int, told: str
) -> None:
    house.publish(turns={"absence": absence})
    five = crowd(house, 5)
    leads(house, 10)
    away(house, "m0", 40, keeper)
    assert abs(leads(house, 50).count(five[0]) - due) <= 1
    story = Explain(house.engine).lead(str(house.value("SELECT max(id) FROM leads")))
    assert story is not None
    assert [one.absence for one in story.decisions] == [told or "no catch-up"]
    made = corrections(house)
    assert [(row.effect, told in row.reason) for row in made] == ([("repay", True)] if told else [])
    assert sum(standings(house).values()) == 0
    assert sound(house)


def test_F6_catch_up_is_paid_day_by_day_until_it_is_whole(house: House, keeper: TurnKeeper) -> None:
    house.publish(turns={"absence": {"catch_up": 40}})
    five = crowd(house, 5)
    leads(house, 10)
    away(house, "m0", 40, keeper)
    paid = []
    for _ in range(5):
        keeper.keep()
        paid.append(len(corrections(house)))
        house.run("UPDATE absence_debts SET next_at = next_at - interval '1 day'")
    assert paid == [1, 2, 3, 3, 3]
    owed = [dict(zip(row.member, row.delta, strict=True))[five[0]] for row in corrections(house)]
    assert sum(owed) == house.value("SELECT delta[array_position(member, member_id)] FROM absence_debts")
    assert abs(sum(owed) - 8 * TURN) <= 40
    assert owed[0] == pytest.approx(0.4 * sum(owed), abs=5)
    assert sound(house)


def test_F6_only_leads_in_reach_count_and_absences_do_not_overlap(house: House, keeper: TurnKeeper) -> None:
    house.publish(turns={"absence": "full"})
    crowd(house, 2)
    far = house.member("far", 41.5, capacity=10)
    for present in (False, False, True, True):
        house.members.set_present(far, present, actor="test")
    house.members.pause(["far"])
    house.members.set_present(far, False, actor="test")
    leads(house, 6)
    house.members.resume(["far"])
    keeper.keep()
    assert house.value("SELECT count(*) FROM absences WHERE ended_at IS NULL") == 1, "off duty still"
    house.members.set_present(far, True, actor="test")
    keeper.keep()
    assert house.value("SELECT count(*) FROM absences WHERE settled_at IS NOT NULL") == 2
    assert corrections(house) == []


# --- periods and windows


def test_F14_a_period_names_the_rotation_and_everything_that_reads_names_understands_it(
    house: House, keeper: TurnKeeper, audit: Callable[[], dict[str, int]]
) -> None:
    house.publish(turns={"reset": "daily", "zone": "America/New_York"})
    crowd(house, 3)
    leads(house, 4)
    now = datetime.now(UTC)
    name = f"{ROTATION}@{now.astimezone(ZoneInfo('America/New_York')):%Y-%m-%d}"
    assert house.rows("SELECT DISTINCT rotation FROM decisions")[0].rotation == name
    assert house.value("SELECT inputs ->> 'now' FROM decisions LIMIT 1") is not None
    with redis.Redis.from_url(house.redis_url) as server:
        server.flushall()
    leads(house, 4)
    keeper.keep()
    assert audit() == {}
    assert sound(house)
    [told] = FollowedAccounts(house.engine).of(ROTATION)
    assert (told.rotation, told.decisions) == (name, 8)
    assert {m: round(one, 6) for m, one in owed_of(told).items()} == in_turns(house, name)


def test_F14_a_rotation_of_a_period_long_ago_is_forgotten_by_both_and_nobody_mends_it(
    house: House, keeper: TurnKeeper, audit: Callable[[], dict[str, int]]
) -> None:
    house.publish(turns={"reset": "monthly"})
    crowd(house, 3)
    leads(house, 4)
    # The ledger as it is half a year later: its decisions are of a period long ago.
    house.turnstile.forget(MARKET, [row.rotation for row in house.rows("SELECT DISTINCT rotation FROM decisions")])
    house.run("ALTER TABLE decisions DISABLE TRIGGER never_change")
    house.run("UPDATE decisions SET rotation = 'installers@2020-01'")
    house.run("ALTER TABLE decisions ENABLE TRIGGER never_change")
    leads(house, 4)
    keeper.look_ahead()
    assert audit() == {}
    house.dispatcher.rebuild(MARKET)
    assert standings(house, "installers@2020-01") == {}
    assert audit() == {}
    assert is_over("installers@2020-01", datetime.now(UTC))


def test_F14_a_rolling_window_takes_out_what_is_older_once(
    house: House, keeper: TurnKeeper, audit: Callable[[], dict[str, int]]
) -> None:
    house.publish(turns={"reset": {"rolling": "30d"}})
    members = [house.member(f"m{n}", 40.01, capacity=10_000, weight=w) for n, w in enumerate((1000, 2000, 4000))]
    leads(house, 5)
    house.run("ALTER TABLE decisions DISABLE TRIGGER never_change")
    house.run("UPDATE decisions SET at = at - interval '31 days'")
    house.run("ALTER TABLE decisions ENABLE TRIGGER never_change")
    old = standings(house)
    leads(house, 3)
    assert any(old.values())
    both = standings(house)
    keeper.keep()
    keeper.keep()
    expected = {m: both.get(m, 0) - old.get(m, 0) for m in members}
    assert standings(house) == {m: one for m, one in expected.items() if one}
    assert [row.effect for row in corrections(house)] == ["forget"]
    assert audit() == {}
    assert sum(standings(house).values()) == 0
    now = standings(house)
    house.run("ALTER TABLE corrections DISABLE TRIGGER never_change")
    house.run("UPDATE corrections SET at = at - interval '31 days'")
    house.run("ALTER TABLE corrections ENABLE TRIGGER never_change")
    house.run("UPDATE rolled SET upto = upto - interval '1 day'")
    keeper.keep()
    assert standings(house) == now, "what was taken out does not fall out once more"


# --- minimums


def test_C11_who_may_miss_its_minimum_is_flagged_weighs_more_and_is_let_go_again(
    house: House, keeper: TurnKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.publish(turns={"minimum": {"leads": 3, "per": "month", "boost": 2.0}})
    near = crowd(house, 3)
    late = house.member("late", 40.01, capacity=10_000)
    house.run("UPDATE members SET created_at = '2026-01-01'")
    house.members.set_present(late, False, actor="test")
    leads(house, 9)
    house.members.set_present(late, True, actor="test")
    month = datetime.now(UTC)
    early, end = month.replace(day=2), month.replace(day=28, hour=12)
    for now, flagged in ((early, []), (end, [late])):
        monkeypatch.setattr(TurnBook, "clock", lambda _self, now=now: now)
        assert keeper.look_ahead()["flagged"] == len(flagged)
        assert [
            row.member_id for row in house.rows("SELECT member_id FROM minimum_flags WHERE cleared_at IS NULL")
        ] == flagged
    version = house.members.versions()[MARKET]
    keeper.look_ahead()
    assert house.members.versions()[MARKET] == version, "nothing new"
    assert house.members.roster(MARKET).boosted == {"installers": frozenset({late})}
    given_to = leads(house, 10)
    assert abs(given_to.count(late) - 4) <= 1, "two of five parts"
    newest = house.rows("SELECT member, weight, inputs FROM decisions ORDER BY seq DESC LIMIT 1")[0]
    assert dict(zip(newest.member, newest.weight, strict=True)) == dict.fromkeys(near, 1000) | {late: 2000}
    assert newest.inputs["lead"]["boosted"] == [late]
    [told] = TurnBook(house.engine).flagged()
    assert (told["member"], told["received"], told["minimum"]) == ("late", 0, 3)
    assert keeper.look_ahead()["flagged"] == 0, "it has its three by now"
    assert house.members.roster(MARKET).boosted == {}
    assert sound(house)


# --- the bound


def owed_of(told: RotationFairness) -> dict[str, float]:
    return {one.member: -one.deviation for one in told.accounts if one.deviation}


def in_turns(house: House, rotation: str) -> dict[str, float]:
    keys = {row.id: row.key for row in house.rows("SELECT id, key FROM members")}
    return {keys[m]: round(one / TURN, 6) for m, one in standings(house, rotation).items()}


def test_N1_the_accounts_told_are_those_of_an_independent_recount_of_the_export(
    house: House, keeper: TurnKeeper
) -> None:
    house.publish(answers={"reject_reasons": {"too_far": "return", "too_small": "penalise"}})
    for n, weight in enumerate((1000, 2000, 4000, 1000, 333)):
        house.member(f"m{n}", 40.01 + 0.03 * (n % 2), capacity=4, weight=weight)
    for n in range(6):
        leads(house, 2)
        lead = house.value("SELECT max(id) FROM leads WHERE state = 'offered'")
        house.desk.reject(house.offer(lead), ("too_far", "too_small")[n % 2], actor=Actor.MEMBER)
        house.work()
    house.corrections.by_hand(uuid4(), Effect.GIVE, member="m0", turns=7, reason="forgotten", actor="manager")
    house.corrector.correct()
    leads(house, 1)
    keeper.keep()
    export = Export(house.engine)
    told = {(one.rotation, a.member): a for one in FollowedAccounts(house.engine).of() for a in one.accounts}
    found = recounted(list(export.decisions()), list(export.corrections()))
    assert found
    for rotation, (members, worst, decisions) in found.items():
        [one] = [one for one in FollowedAccounts(house.engine).of() if one.rotation == rotation]
        assert (one.decisions, round(one.worst_ever * TURN)) == (decisions, worst)
        assert one.worst_now == max(abs(a.owed) for a in members.values()) / TURN
        for key, account in members.items():
            shown = told[rotation, key]
            assert (shown.offers, round(shown.deviation * TURN)) == (account.offers, -account.owed)
            assert round(shown.worst * TURN) == account.worst
    [one] = FollowedAccounts(house.engine).of("installers")
    assert owed_of(one) == pytest.approx(in_turns(house, ROTATION))
    assert one.bound == bounds(export.decisions(), export.corrections())[ROTATION] / TURN
    assert (len(one.accounts) - 1) / 2 < one.worst_ever <= one.bound, "seven turns by hand are in the bound"
    assert one.bound == (len(one.accounts) - 1) / 2 + one.added
    [verified] = [pool for pool in Verify(house.engine).run().worst if pool.rotation == ROTATION]
    assert (verified.worst_turns, verified.bound_turns) == (one.worst_ever, one.bound)
    simulated = of_history(read(house, datetime(2026, 1, 1, tzinfo=UTC))).fairness[ROTATION]
    assert (simulated.worst, simulated.bound) == (round(one.worst_ever, 3), one.bound)


def test_N1_a_decision_that_is_committed_late_is_added_when_it_comes(house: House, keeper: TurnKeeper) -> None:
    house.publish()
    crowd(house, 3)
    leads(house, 6)
    follow = FollowedAccounts(house.engine)
    house.run("CREATE TABLE kept AS SELECT * FROM decisions WHERE seq = 4")
    house.run("ALTER TABLE decisions DISABLE TRIGGER ALL")
    house.run("ALTER TABLE offers DISABLE TRIGGER ALL")
    house.run("DELETE FROM decisions WHERE seq = 4")
    assert follow.follow(MARKET) == 3, "what comes after a number that may still come waits"
    house.run("UPDATE decisions SET at = at - interval '2 minutes'")
    assert follow.follow(MARKET) == 2
    assert house.value("SELECT array_agg(seq) FROM fairness_gaps") == [4]
    house.run("INSERT INTO decisions SELECT * FROM kept")
    assert follow.follow(MARKET) == 1
    assert house.value("SELECT count(*) FROM fairness_gaps") == 0
    house.run("ALTER TABLE decisions ENABLE TRIGGER ALL")
    [told] = follow.of()
    assert told.decisions == 6
    assert (told.added, told.bound) == (1, 2), "others were decided as if it were there"
    assert {k: round(v, 6) for k, v in owed_of(told).items()} == in_turns(house, ROTATION)


def test_N1_decisions_by_ramp_distance_period_and_minimum_are_made_again_the_same(house: House) -> None:
    turns = {
        "reset": "daily",
        "ramp": [{"days": 100, "percent": 25}],
        "minimum": {"leads": 9, "boost": 3},
        "halves_at": 2,
    }
    house.publish(mode="weighted_by_distance", turns=turns)
    house.member("new", 40.01, capacity=100)
    for n, joined in enumerate(("2020-01-01", "2020-02-30", "2019-05-05")):
        house.member(f"m{n}", 40.005 + 0.01 * n, capacity=100, attributes={"joined": joined})
    flagged = house.value("SELECT id FROM members WHERE key = 'm2'")
    house.run(
        "INSERT INTO minimum_flags (pool, member_id, period, market, received, projected, minimum, until) "
        "VALUES ('installers', :member, 'x', 'main', 0, 0, 9, clock_timestamp() + interval '1 day')",
        member=flagged,
    )
    house.run("UPDATE markets SET roster_version = roster_version + 1")
    leads(house, 6)
    weights = {
        key: weight
        for row in house.rows("SELECT member, weight FROM decisions ORDER BY seq LIMIT 1")
        for key, weight in zip(row.member, row.weight, strict=True)
    }
    by_key = {row.key: weights[row.id] for row in house.rows("SELECT id, key FROM members")}
    assert by_key["m0"] == pytest.approx(1000 * 3218.7 / (3218.7 + 555.2), abs=3)
    assert by_key["new"] == pytest.approx(250 * 3218.7 / (3218.7 + 1110.4), abs=3), "it joined today"
    assert by_key["m1"] == pytest.approx(250 * 3218.7 / (3218.7 + 1665.5), abs=3), "no day, so when we heard of it"
    assert by_key["m2"] == pytest.approx(3000 * 3218.7 / (3218.7 + 2775.9), abs=3)
    house.run("UPDATE minimum_flags SET cleared_at = clock_timestamp()")
    house.run("UPDATE markets SET roster_version = roster_version + 1")
    made = list(Reexecution(house.engine, policy_file.parse).run())
    assert len(made) == 6
    assert [one.remade.differences for one in made] == [()] * 6
    assert sound(house)

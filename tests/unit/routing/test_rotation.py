"""How turns are kept: modes, weights, ramps, periods, absences, minimums."""

import csv
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import policy as policy_file
from routing.fairness import TURN, Book
from routing.lead import Lead, Point
from routing.member import Member, Roster
from routing.near import Index
from routing.plan import Versions, conclude_all, plan_all
from routing.policy import Mode, Policy
from routing.ports import Snapshot
from routing.rotation import (
    Absence,
    Minimum,
    Ramp,
    Reset,
    Turning,
    base_of,
    by_distance,
    is_over,
    label_of,
    local_day,
    missed,
    misses,
    named,
    part_of,
    parts_in,
    period,
    projected,
    ramped,
    span,
    summed,
)
from routing.simulation.turnstile import MemoryTurnstile
from tests.data.three_modes import HALVES_AT_M, MEMBERS
from tests.unit.routing.test_fairness import a_candidate, serve, turns

NEW_YORK = "America/New_York"
HOME = Point(40, -75)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATA = Path(__file__).parents[2] / "data"


def document(**pool: object) -> dict[str, object]:
    made = {"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [5, 15, 30, 50]}} | pool
    return {"pools": [made], "default_tier": {"capacity": 10**5}}


def policy(**pool: object) -> Policy:
    return policy_file.parse(document(**pool), 1)


def member(number: int, *, weight: int = 1000, at: Point = HOME, joined: int = 0) -> Member:
    return Member(number, f"m{number}", "", "main", "", (at,), weight=weight, joined=joined)


class Desk:
    """One pool with its members and its turnstile."""

    def __init__(self, made: Policy, members: Sequence[Member], *, boosted: Sequence[int] = ()) -> None:
        self.policy, self.pool = made, made.pools[0]
        self.index = Index(Roster("main", 1, members, boosted={self.pool.name: frozenset(boosted)}))
        self.turnstile = MemoryTurnstile()
        self.turnstile.rebuild("main", Snapshot(1, 0, {}, {}, {}, {}))
        self.leads = 0

    def offer(self, place: Point = HOME, now: datetime = NOON) -> int | None:
        """To whom the next lead goes; made again from what is written down of it, it goes there as well."""
        self.leads += 1
        lead = Lead(self.leads, now, place=place)
        plans = plan_all([(lead, self.pool)], self.policy, self.index, now=now)
        grants = self.turnstile.reserve("main", [one.ask(uuid4()) for one in plans], generation=1)
        decision = conclude_all(plans, grants, Versions(1, 1, 1))[0].decision
        self.decision = decision
        return decision.chosen

    def standings(self, rotation: str) -> dict[int, int]:
        return {m: one.standing for m, one in self.turnstile.standings("main", rotation).items()}


# --- three modes


def fixed_file() -> list[dict[str, str]]:
    with (DATA / "three_modes.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["nearest", "fair", "weighted_by_distance"])
def test_G6_each_of_the_three_modes_gives_the_documented_order_on_a_fixed_file(mode: str) -> None:
    halves = {"turns": {"halves_at": HALVES_AT_M / 1609.344}} if mode == "weighted_by_distance" else {}
    desk = Desk(
        policy(mode=mode, **halves),
        [member(one, weight=weight, at=Point(lat, lon)) for one, (lat, lon, weight) in MEMBERS.items()],
    )
    rows = fixed_file()
    assert len(rows) == 1000
    given_to = [desk.offer(Point(float(row["lat"]), float(row["lon"]))) for row in rows]
    assert [str(one or "") for one in given_to] == [row[mode] for row in rows]


def test_G6_the_three_modes_are_named_and_differ() -> None:
    ways = ["nearest", "fair", "weighted_by_distance"]
    assert [policy(mode=one).pools[0].way for one in ways] == ways
    columns = [[row[one] for row in fixed_file()] for one in ways]
    assert all(one != other for n, one in enumerate(columns) for other in columns[:n])


@given(st.integers(1, 4_000_000), st.integers(0, 10**7), st.integers(1, 10**6))
def test_G6_a_weight_halves_at_its_distance_and_never_comes_to_nothing(weight: int, away: int, half: int) -> None:
    weighed = by_distance(np.array([weight] * 3), np.array([0, half, away]), half / 10).tolist()
    assert weighed[:2] == [weight, max(weight // 2, 1)]
    assert weighed[2] == max(weight * half // (half + away), 1)


def test_G6_the_decision_keeps_the_weights_that_the_distance_left() -> None:
    near, far = member(1), member(2, at=Point(40.0582, -75))
    desk = Desk(
        policy(mode="weighted_by_distance", turns={"halves_at": 4}, rings={"unit": "mi", "radii": [5]}), [near, far]
    )
    desk.offer()
    weights = {one.member: one.weight for one in desk.decision.weighed}
    assert weights[1] == 1000
    assert weights[2] == pytest.approx(500, abs=3)
    assert desk.decision.mode is Mode.FAIR
    counts = Counter(desk.offer() for _ in range(600))
    assert counts[1] == pytest.approx(400, abs=2)


# --- least recently assigned, weights, scopes


def test_F2_whoever_is_here_the_one_with_the_oldest_last_offer_is_chosen() -> None:
    dice, book, last = random.Random(22), Book(), dict.fromkeys(range(1, 31), 0)
    for turn in range(1, 3000):
        here = [a_candidate(m, capacity=dice.randint(0, 3)) for m in dice.sample(sorted(last), dice.randint(2, 20))]
        opens = {c.member: dice.randint(0, 2) for c in here}
        free = [c.member for c in here if opens[c.member] < c.capacity]
        if not free:
            continue
        chosen = serve(Mode.LEAST_RECENT, here, book, opens)
        assert last[chosen] == min(last[m] for m in free)
        last[chosen] = turn


def test_F3_weights_3_2_1_over_600_leads_give_300_200_100_and_nobody_three_in_a_row() -> None:
    weighed = [a_candidate(1, weight=3000), a_candidate(2, weight=2000), a_candidate(3, weight=1000)]
    given_to = turns(Mode.FAIR, weighed, Book(), 600)
    counts = Counter(given_to)
    assert all(abs(counts[m] - due) <= 1 for m, due in ((1, 300), (2, 200), (3, 100)))
    assert not any(given_to[n] == given_to[n + 1] == given_to[n + 2] for n in range(598))


@pytest.mark.parametrize("scope", ["pool", "pool_ring"])
def test_F4_tiers_rings_and_pools_each_have_accounts_of_their_own(scope: str) -> None:
    tiers = [{"name": "gold", "capacity": 10**5}, {"name": "silver", "capacity": 10**5}]
    rings = {"unit": "mi", "radii": [5, 15]}
    both = [
        {"name": name, "market": "main", "countries": [country], "rings": rings, "tiers": "ranked", "scope": scope}
        for name, country in (("north", "US"), ("south", "DE"))
    ]
    made = policy_file.parse({"pools": both, "tiers": tiers, "default_tier": {"capacity": 1}}, 1)
    people = [Member(n, f"m{n}", "", "main", ("gold", "silver")[n % 2], (HOME,)) for n in range(1, 7)]
    index, names = Index(Roster("main", 1, people)), set()
    for pool, country in zip(made.pools, ("US", "DE"), strict=True):
        for place in (HOME, Point(40.1, -75)):
            [plan] = plan_all([(Lead(1, NOON, country=country, place=place), pool)], made, index)
            names |= {group.rotation for group in plan.groups}
    ring = ("",) if scope == "pool" else ("/ring1", "/ring2")
    assert names == {f"{p}{r}/tier{t}" for p in ("north", "south") for r in ring for t in (1, 2)}


# --- ramp


def test_F7_a_new_member_gets_its_part_in_each_forty_leads_and_never_a_burst() -> None:
    joined = date(2026, 11, 9).toordinal() - date(1970, 1, 1).toordinal()
    ramp = [{"days": 14, "percent": 25}, {"days": 28, "percent": 50}]
    veterans = [member(n) for n in range(1, 5)]
    desk = Desk(policy(turns={"ramp": ramp}), [*veterans, member(9, joined=joined)])
    before = Desk(policy(), veterans)
    for _ in range(400):
        before.offer()
    for day, percent in ((0, 25), (13, 25), (14, 50), (27, 50), (28, 100), (400, 100)):
        now = datetime(2026, 11, 9, 18, tzinfo=UTC) + timedelta(days=day)
        given_to = [desk.offer(now=now) for _ in range(200)]
        due = 40 * percent / (400 + percent)
        for start in range(0, 200, 40):
            assert abs(given_to[start : start + 40].count(9) - due) <= 1, (day, start)
        assert not any(given_to[n] == given_to[n + 1] == 9 for n in range(199))
        assert desk.decision.inputs["now"] == now.isoformat()


def test_F7_the_ramp_goes_by_the_day_in_the_pool_s_zone() -> None:
    ramp = (Ramp(14, 25), Ramp(28, 50))
    joined = np.array([0, 10_000, 10_014, 10_027, 10_028, 10_041, 10_042, 20_000])
    assert ramped(ramp, joined, 10_041).tolist() == [1000, 1000, 500, 500, 250, 250, 250, 250]
    late = datetime(2026, 11, 23, 3, tzinfo=UTC)
    assert local_day("UTC", late) - local_day(NEW_YORK, late) == 1


def test_F7_the_day_of_joining_is_the_attribute_else_when_we_heard_of_the_member() -> None:
    told: Sequence[Mapping[str, object]] = {"joined": "2026-11-01"}, {"joined": "soon"}, {}
    people = [Member(n, f"m{n}", "", "main", "", (HOME,), attributes=one, joined=7) for n, one in enumerate(told, 1)]
    assert Roster("main", 1, people).joined.tolist() == [date(2026, 11, 1).toordinal() - 719_163, 7, 7]


# --- periods


@pytest.mark.parametrize(
    ("reset", "zone", "last", "label", "next_label"),
    [
        (Reset.DAILY, NEW_YORK, "2026-11-01T23:59:59.999999", "2026-11-01", "2026-11-02"),  # a day of 25 hours
        (Reset.DAILY, NEW_YORK, "2026-03-08T23:59:59.999999", "2026-03-08", "2026-03-09"),  # and one of 23
        (Reset.WEEKLY, NEW_YORK, "2026-11-22T23:59:59.999999", "2026-W47", "2026-W48"),
        (Reset.WEEKLY, "Australia/Sydney", "2027-01-03T23:59:59.999999", "2026-W53", "2027-W01"),
        (Reset.MONTHLY, NEW_YORK, "2026-12-31T23:59:59.999999", "2026-12", "2027-01"),
        (Reset.MONTHLY, "UTC", "2028-02-29T23:59:59.999999", "2028-02", "2028-03"),
    ],
)
def test_F14_a_period_ends_at_midnight_in_the_pool_s_zone(
    reset: Reset, zone: str, last: str, label: str, next_label: str
) -> None:
    moment = datetime.fromisoformat(last).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert period(reset, zone, moment) == label
    begun, end = span(reset, zone, moment)
    assert end == moment + timedelta(microseconds=1)
    assert (period(reset, zone, end), period(reset, zone, begun)) == (next_label, label)
    assert span(reset, zone, end)[0] == end
    assert period(reset, zone, begun - timedelta(microseconds=1)) != label


@given(
    st.sampled_from([Reset.DAILY, Reset.WEEKLY, Reset.MONTHLY]),
    st.sampled_from([NEW_YORK, "UTC", "Asia/Kolkata"]),
    st.integers(1_577_836_800, 2_051_222_400),
)
def test_F14_every_moment_is_in_its_period(reset: Reset, zone: str, second: int) -> None:
    now = datetime.fromtimestamp(second, UTC)
    begun, end = span(reset, zone, now)
    assert begun <= now < end
    assert period(reset, zone, begun) == period(reset, zone, now) != period(reset, zone, end)


def test_F14_accounts_begin_at_zero_with_the_new_month_and_not_a_moment_earlier() -> None:
    desk = Desk(policy(turns={"reset": "monthly", "zone": NEW_YORK}), [member(n) for n in (1, 2, 3)])
    end = datetime(2026, 12, 1, 5, tzinfo=UTC)  # midnight in New York
    for n in range(4):
        desk.offer(now=end - timedelta(hours=1, minutes=n))
    assert desk.offer(now=end - timedelta(microseconds=1)) == 2
    assert desk.decision.rotation == "installers@2026-11"
    assert any(desk.standings("installers@2026-11").values())
    assert desk.offer(now=end) == 1, "all stand at zero: the lowest id"
    assert desk.decision.rotation == "installers@2026-12"
    assert {one.standing for one in desk.decision.weighed} == {0}
    assert sum(desk.standings("installers@2026-12").values()) == 0


def test_F14_a_name_tells_its_period_and_when_nobody_needs_it_any_more() -> None:
    monthly = Turning(reset=Reset.MONTHLY, zone=NEW_YORK)
    name = named("installers/ring1/tier2", monthly, NOON)
    assert (name, base_of(name), label_of(name)) == (
        "installers/ring1/tier2@2026-11",
        "installers/ring1/tier2",
        "2026-11",
    )
    assert (
        named("installers", Turning(), NOON) == named("installers", Turning(reset=Reset.ROLLING), NOON) == "installers"
    )
    for over in ("a@2026-08", "a@2026-W39", "a@2026-09-30"):
        assert is_over(over, NOON), over
    for kept in ("a", "a@2026-11", "a@2026-10", "a@2026-W45", "a@2026-11-01", "a@2026-W48"):
        assert not is_over(kept, NOON), kept


# --- absences

weighings = st.dictionaries(st.integers(1, 9), st.integers(1, 5_000_000), min_size=1)


@given(weighings, st.integers(1, 5_000_000), st.integers(1, 10))
def test_F6_what_an_absent_member_missed_is_what_the_others_earned_more(
    eligible: Mapping[int, int], weight: int, who: int
) -> None:
    others = {m: its for m, its in eligible.items() if m != who}
    if not others:
        return
    deltas = missed(weight, others, who, turn=TURN)
    assert sum(deltas.values()) == 0
    assert all(delta <= 0 for m, delta in deltas.items() if m != who)
    due = weight * TURN // (weight + sum(others.values()))
    assert abs(deltas[who] - due) <= len(others) + 1


@given(st.dictionaries(st.integers(1, 9), st.integers(-(10**9), 10**9)), st.integers(1, 100))
def test_F6_the_parts_of_what_is_owed_are_the_whole_and_none_is_above_its_percentage(
    owed: Mapping[int, int], percent: int
) -> None:
    deltas = {**owed, 10: -sum(owed.values())}
    parts = [part_of(deltas, 10, percent, n) for n in range(1, parts_in(percent) + 1)]
    assert all(sum(part.values()) == 0 for part in parts)
    assert summed(parts) == {m: delta for m, delta in deltas.items() if delta}
    assert all(abs(part[10]) <= abs(deltas[10]) * percent / 100 + len(deltas) for part in parts) or any(
        (one > 0) != (other > 0) for one in owed.values() for other in owed.values()
    )


def absent_for(desk_book: Book, leads: int) -> dict[int, int]:
    """Four work while the fifth is away; what it misses."""
    owed = []
    for _ in range(leads):
        serve(Mode.FAIR, [a_candidate(m) for m in (1, 2, 3, 4)], desk_book)
        owed.append(missed(1000, dict.fromkeys((1, 2, 3, 4), 1000), 5, turn=TURN))
    return summed(owed)


def next_fifty(book: Book) -> int:
    return turns(Mode.FAIR, [a_candidate(m) for m in range(1, 6)], book, 50).count(5)


def after_absence(leads: int) -> tuple[Book, dict[int, int]]:
    book = Book()
    turns(Mode.FAIR, [a_candidate(m) for m in range(1, 6)], book, 37)
    return book, absent_for(book, leads)


def pay(book: Book, deltas: Mapping[int, int]) -> None:
    for one, delta in deltas.items():
        book.standing[one] = book.standing.get(one, 0) + delta


def test_F6_by_default_who_returns_gets_ten_of_the_next_fifty() -> None:
    for leads in (10, 100, 1000):
        book, _ = after_absence(leads)
        assert abs(next_fifty(book) - 10) <= 1


def test_F6_with_full_catch_up_it_gets_all_it_missed() -> None:
    book, owed = after_absence(100)
    pay(book, owed)
    got = turns(Mode.FAIR, [a_candidate(m) for m in range(1, 6)], book, 100).count(5)
    assert abs(got - (20 + 20)) <= 1, "a fifth of these hundred leads, and of the hundred before"
    assert sum(book.standing.values()) == 0


def test_F6_with_catch_up_no_day_brings_more_than_its_percentage() -> None:
    book, owed = after_absence(100)
    got = []
    for day in range(1, 13):
        if day <= parts_in(10):
            pay(book, part_of(owed, 5, 10, day))
        got.append(next_fifty(book))
    assert all(abs(one - (10 + 2)) <= 1 for one in got[:10]), "two of the twenty that it missed, every day"
    assert abs(sum(got) - (12 * 10 + 20)) <= 1
    assert all(abs(one - 10) <= 1 for one in got[10:])


def test_F6_the_policy_says_in_words_what_an_absence_is_worth() -> None:
    assert Turning().told == "no catch-up"
    assert Turning(absence=Absence.FULL).told == "full catch-up"
    assert Turning(absence=Absence.CATCH_UP, percent_a_day=10).told == "catch-up of 10 % a day"


# --- minimums

MONTH = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("received", "day", "flagged"),
    [
        (7, 24, True),  # 7 in 23 days: 9.1 in 30
        (8, 24, False),  # 8 in 23 days: 10.4
        (0, 23, False),  # 8 days before the end: nobody looks yet
        (0, 24, True),
        (9, 30, True),
        (10, 30, False),
    ],
)
def test_C11_who_is_projected_to_miss_its_minimum_is_flagged_seven_days_ahead(
    received: int, day: int, flagged: bool
) -> None:
    minimum = Minimum(10, Reset.MONTHLY, 1500)
    assert misses(minimum, received, *MONTH, datetime(2026, 11, day, tzinfo=UTC)) is flagged


def test_C11_the_projection_is_the_pace_so_far() -> None:
    assert projected(5, *MONTH, datetime(2026, 11, 16, tzinfo=UTC)) == 10
    assert projected(0, *MONTH, MONTH[0]) == 0
    assert projected(3, *MONTH, MONTH[1]) == 3


def test_C11_who_is_flagged_gets_more_within_its_bound_and_the_accounts_stay_exact() -> None:
    made = policy(turns={"minimum": {"leads": 10, "boost": 1.5}})
    people = [member(n) for n in (1, 2, 3, 4)]
    desk = Desk(made, people, boosted=[2])
    counts = Counter(desk.offer() for _ in range(900))
    assert counts[2] == pytest.approx(300, abs=2), "3 of 9 parts"
    assert counts[1] == pytest.approx(200, abs=2)
    assert {one.member: one.weight for one in desk.decision.weighed} == {1: 1000, 2: 1500, 3: 1000, 4: 1000}
    assert desk.decision.inputs["lead"]["boosted"] == [2]  # type: ignore[index]
    assert sum(desk.standings("installers").values()) == 0
    plain = Desk(made, people)
    assert abs(Counter(plain.offer() for _ in range(900))[2] - 225) <= 1

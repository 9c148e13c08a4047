"""Made-up leads and answers come at the rates that were asked for."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean

import pytest

from routing.errors import BadInput
from routing.lead import Point
from routing.offer import OfferState
from routing.simulation.generate import DAY_SHAPE, FLAT, Behaviour, leads

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
TOWN = [Point(40.0, -75.0), Point(41.0, -74.0)]
MANY = 20_000


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("per_hour", "shape"), [(40.0, FLAT), (200.0, DAY_SHAPE)])
def test_W4_leads_arrive_at_the_rate_that_is_given(seed: int, per_hour: float, shape: tuple[float, ...]) -> None:
    made = list(leads(MANY, per_hour, BEGIN, TOWN, seed=seed, shape=shape))
    hours = (made[-1].received_at - BEGIN) / timedelta(hours=1)
    whole = [one for one in made if one.received_at < BEGIN + timedelta(days=int(hours // 24))]
    assert len(whole) / (int(hours // 24) * 24) == pytest.approx(per_hour, rel=0.02)
    assert [one.received_at for one in made] == sorted(one.received_at for one in made)


@pytest.mark.parametrize("seed", range(5))
def test_W4_few_leads_keep_to_the_rate_as_well(seed: int) -> None:
    made = list(leads(500, 40.0, BEGIN, TOWN, seed=seed, shape=FLAT))
    assert 500 / ((made[-1].received_at - BEGIN) / timedelta(hours=1)) == pytest.approx(40.0, rel=0.02)


def test_W4_gaps_between_leads_are_those_of_a_poisson_process() -> None:
    made = [one.received_at for one in leads(MANY, 60.0, BEGIN, TOWN, shape=FLAT)]
    gaps = [(later - earlier) / timedelta(minutes=1) for earlier, later in pairwise(made)]
    assert mean(gaps) == pytest.approx(1.0, rel=0.02)
    assert mean(gap * gap for gap in gaps) == pytest.approx(2.0, rel=0.05)  # of an exponential: twice the mean squared


def test_W4_a_day_has_the_shape_that_is_given() -> None:
    made = [one.received_at.hour for one in leads(MANY, 200.0, BEGIN, TOWN)]
    evening, night = made.count(19), made.count(3)
    assert sum(DAY_SHAPE) == pytest.approx(24)
    assert evening / night == pytest.approx(DAY_SHAPE[19] / DAY_SHAPE[3], rel=0.35)


@pytest.mark.parametrize(("accept", "reject", "minutes"), [(0.65, 0.20, 45), (0.30, 0.50, 10), (0.9, 0.1, 240)])
def test_W4_members_answer_at_the_rates_and_delays_that_are_given(accept: float, reject: float, minutes: int) -> None:
    habits = Behaviour(accept, reject, timedelta(minutes=minutes)).habits(seed=7)
    replies = [habits.reply(lead, lead % 40 + 1, "gold") for lead in range(2 * MANY)]
    yes = [one for one in replies if one.answer is OfferState.ACCEPTED]
    no = [one for one in replies if one.answer is OfferState.REJECTED]
    assert len(yes) / (2 * MANY) == pytest.approx(accept, rel=0.02)
    assert len(no) / (2 * MANY) == pytest.approx(reject, rel=0.02)
    assert mean(one.after for one in (*yes, *no)) / 60e6 == pytest.approx(minutes, rel=0.02)


def test_the_same_seed_makes_the_same_leads_and_another_seed_others() -> None:
    one, again, other = (list(leads(50, 20.0, BEGIN, TOWN, seed=seed)) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(
    ("count", "rate", "around"),
    [(0, 10.0, TOWN), (10, 0.0, TOWN), (10, float("nan"), TOWN), (10, 1e-7, TOWN), (10, 5.0, [])],
)
def test_what_cannot_be_made_is_refused(count: int, rate: float, around: list[Point]) -> None:
    with pytest.raises(BadInput):
        list(leads(count, rate, BEGIN, around))


def test_more_answers_than_offers_are_refused() -> None:
    with pytest.raises(BadInput, match="more than all"):
        Behaviour(accept=0.8, reject=0.3)

"""A report: history again where the policy is the same, a draft beside it where it is not, and one page of it."""

import re
from functools import cache

import pytest
from click.testing import CliRunner

from config.simulation.figures import signed
from config.simulation.page import page
from routing.errors import BadInput
from routing.simulation.past import Past
from routing.simulation.report import Report, simulate
from tests.unit.simulation.town import HABITS, a_policy, a_town, lived, played
from workers.cli_simulate import simulate_command


@cache
def history() -> Past:
    past = a_town(80, 14, policy=a_policy(capacity=2))
    return lived(past, played(past))


@cache
def drafted() -> Report:
    draft = a_policy(0, capacity=6, mode="nearest", rings={"unit": "mi", "radii": [40]})
    return simulate(history(), draft, HABITS, name="draft.yaml")


def test_N2_the_policy_in_force_comes_out_as_history_did() -> None:
    found = simulate(history(), None, HABITS, name="The live policy").comparison
    assert found is not None
    assert found.decided > 80
    assert found.same == found.decided
    assert found.differences == ()


def test_W2_a_draft_tells_what_changes_for_every_member_and_area() -> None:
    told = drafted().to_json()
    rows = {row["name"]: row for row in told["members"]}
    offers = [o for o in history().offers if o.offered >= history().since]
    for key, row in rows.items():
        before = sum(history().members[o.member].key == key for o in offers)
        assert row["offers_before"] == before
        assert row["offers_change"] == row["offers"] - before
    assert sum(row["offers"] for row in rows.values()) == told["total"]["offers"]
    assert told["total"]["missed"] <= told["total_before"]["missed"]  # three times the room
    for what in ("accepts", "wait_min", "miles", "missed"):
        assert f"{what}_change" in told["areas"]["postal"][0]
    assert told["worst_turns"] >= 0


def test_W2_an_offer_is_as_far_as_the_chosen_member_was_weighed() -> None:
    world = played(history(), a_policy(capacity=6, rings={"unit": "mi", "radii": [10, 40]}))
    decisions = [made.verdict.decision for made in world.made if made.chosen is not None]
    far = [next(w.distance_m for w in d.weighed if w.member == d.chosen) for d in decisions]
    assert [world.ledger.offers[d.id].distance_m for d in decisions] == far
    assert len(set(far)) > 20


def test_answers_that_were_seen_are_used_again_and_the_others_are_stated() -> None:
    told = drafted().to_json()["answers"]
    assert told["reused"] > 0
    assert told["assumed"] > 0
    assert told["others"]["accept"] == pytest.approx(0.65)
    text = page(drafted())
    assert "The assumption" in text


@pytest.mark.parametrize(
    ("change", "text"), [(1_234_567, "+1,234,567"), (-36_884, "-36,884"), (0.1, "+0.1"), (-2.0, "-2"), (100, "+100")]
)
def test_a_change_is_told_with_every_digit(change: float, text: str) -> None:
    assert signed(change) == text


def test_the_page_needs_nothing_else() -> None:
    text = page(drafted())
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|<link|<img|src=", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert text.count("<svg") == 3
    assert all('role="img"' in svg and "<title>" in svg for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert text.count("<caption>") == text.count("<table")
    assert "may be accepted more than once" in text  # acceptances can be more than leads
    assert not re.search(r">[+-]0</text>", text)  # who gets as many as before is no change
    for member in history().members.values():
        assert member.name in text


def test_names_are_words_in_the_page_and_nothing_else() -> None:
    report = simulate(history(), a_policy(0), HABITS, name="<script>alert(1)</script>")
    assert "<script>alert" not in page(report)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["live", "--from", "2026-02-01", "--to", "2026-01-01"], "is not before"),
        (["draft.yaml", "--leads", "no-such.csv"], "only one of the two"),
        (["no-such.yaml", "--leads", "no-such.csv", "--members", "no-such.csv"], "cannot read no-such.yaml"),
        (["live", "--html", "/no/such/place.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_any_work(words: list[str], says: str) -> None:
    found = CliRunner().invoke(simulate_command, words)
    assert isinstance(found.exception, BadInput)
    assert says in str(found.exception)

"""Publishing runs the check: warnings are kept with the version, errors refuse it, and nothing is half applied."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from config import policy as policy_file
from config import policy_checking, policy_text
from config.publisher import Publisher
from routing.errors import BadInput, Refused
from routing.policy import Policy
from routing.versions import HardlyMeant
from tests.integration.policy.conftest import COMMAND_LINE, Press
from tests.integration.routing.house import document
from workers.cli import cli

ODD_RULES = """
attributes: {lead: {score: number}, member: {languages: list}}
default: {pool: installers}
rules:
  - name: good
    when: lead.score > 5.0
    then: {pool: installers, skills: [{name: languages, wanted: es}]}
    examples: [{lead: {score: 7}, expect: {pool: installers}}]
  - {name: better, when: lead.score > 9.0, then: {review: better}}
  - {name: american, when: lead.country == "US", then: {hold: later}}
"""


def checked(press: Press) -> Publisher:
    """A publisher as the house has it: it looks a policy through, with the members there are."""

    def check(document: Mapping[str, Any], policy: Policy) -> Sequence[Mapping[str, Any]]:
        known = policy_checking.people(press.house.members, press.house.ledger.open_counts)
        return policy_checking.look_through(document, policy, known)

    return replace(press.publisher(), check=check)


def written(rules: str = ODD_RULES, **pool: Any) -> policy_text.Written:
    return policy_text.read(policy_file.dump(document(**pool)) + rules, "policy.yaml")


def test_M11_publishing_warns_with_a_concrete_lead_and_keeps_the_warnings_with_the_version(press: Press) -> None:
    press.house.member("near", capacity=0)
    press.house.member("far", capacity=0)
    made = checked(press).publish_document(written(reassignments=5), by=COMMAND_LINE, anyway=True)
    told = {one["code"]: one for one in made.findings}
    assert set(told) >= {
        "unreachable_rule",
        "contradictory_overlap",
        "empty_pool",
        "attempts_beyond_members",
        "skills_nobody_has",
    }
    assert told["unreachable_rule"]["witness"]["lead.score"] > 9
    assert told["unreachable_rule"]["line"]
    assert told["attempts_beyond_members"]["witness"]["lead.attempt"] == 3
    assert all(one["witness"] for one in told.values())


def test_N10_a_failing_example_refuses_the_publication_with_its_line_and_nothing_changes(press: Press) -> None:
    publisher = checked(press)
    failing = written(ODD_RULES.replace("{score: 7}", "{score: 3}"))
    rows = "SELECT version, state, edition FROM policies ORDER BY version"
    before = press.house.rows(rows)
    for attempt in (publisher.publish_document, publisher.draft):
        with pytest.raises(
            BadInput, match="the example of good fails: pool is None by american, and 'installers' is expected"
        ) as caught:
            attempt(failing, by=COMMAND_LINE)
        assert caught.value.field.startswith("rules[0].examples[0] (line ")
    assert press.house.rows(rows) == before
    assert publisher.policies.in_force() == 1


@pytest.mark.parametrize(
    "spoil",
    [
        {"pools": []},
        {"default_tier": {"capacity": 5, "weight": 0}},
        {"default_tier": {"capacity": 5, "weight": float("nan")}},
        {"rules": [{"name": "a", "then": {"pool": "nowhere"}}], "default": {"pool": "installers"}},
        {"rules": [{"name": "a", "when": "lead.scor > 1", "then": {"review": "x"}}], "default": {"review": "x"}},
        {"areas": {"bow": {"geojson": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}}}},
        {"tiers": [{"name": "a\u202eb", "capacity": 1}]},
    ],
)
def test_what_is_no_policy_leaves_the_one_in_force_and_its_tables_as_they_were(
    press: Press, spoil: dict[str, Any]
) -> None:
    publisher = checked(press)
    state = """
        SELECT (SELECT count(*) FROM audit), (SELECT json_agg(p ORDER BY version) FROM policies p)::text,
            (SELECT json_agg(t ORDER BY name) FROM tiers t)::text,
            (SELECT json_agg(m ORDER BY name) FROM markets m)::text
    """
    before = press.house.rows(state)
    for attempt in (publisher.publish_document, publisher.draft):
        with pytest.raises(BadInput):
            attempt(document() | spoil, by=COMMAND_LINE)
    assert press.house.rows(state) == before


def test_of_two_documents_published_at_once_over_the_same_version_one_wins_and_the_other_is_told(press: Press) -> None:
    press.house.member("near")
    publisher = checked(press)

    def publish(reassignments: int) -> object:
        try:
            return publisher.publish_document(written("", reassignments=reassignments), by=COMMAND_LINE, replacing=1)
        except Refused as exc:
            return exc

    with ThreadPoolExecutor(2) as both:
        outcome = list(both.map(publish, [1, 2]))
    refused = [one for one in outcome if isinstance(one, Refused)]
    assert len(refused) == 1
    assert "version" in str(refused[0])
    assert press.house.value("SELECT count(*) FROM policies WHERE state = 'published'") == 1


def test_a_pool_without_members_is_published_only_by_somebody_who_says_that_it_is_meant(press: Press) -> None:
    press.house.member("near")
    empty = written("", market="nowhere")
    publisher = checked(press)
    draft = publisher.draft(empty, by=COMMAND_LINE)
    soon = datetime.now(UTC) + timedelta(days=1)
    refused: list[Callable[[], object]] = [
        lambda: publisher.publish_document(empty, by=COMMAND_LINE),
        lambda: publisher.publish(draft.version, by=COMMAND_LINE),
        lambda: publisher.schedule(draft.version, soon, by=COMMAND_LINE),
    ]
    for attempt in refused:
        with pytest.raises(HardlyMeant, match="no active member is in the market nowhere"):
            attempt()
    assert publisher.policies.in_force() == 1
    made = publisher.publish(draft.version, by=COMMAND_LINE, anyway=True)
    assert publisher.policies.in_force() == made.version
    # What is in force already is not asked for again.
    assert publisher.publish_document(written("", market="nowhere", reassignments=1), by=COMMAND_LINE).findings


def test_limits_below_what_is_held_are_told_and_take_nothing_away(press: Press) -> None:
    house = press.house
    house.member("near", capacity=None)
    leads = [house.lead(f"l{number}") for number in range(3)]
    house.work()
    lower = document() | {"default_tier": {"capacity": 1}, "tiers": []}
    rows = "SELECT version, state, edition FROM policies ORDER BY version"
    before = house.rows(rows)
    with pytest.raises(HardlyMeant, match="1 members hold more leads than they may by this policy: near"):
        checked(press).publish_document(lower, by=COMMAND_LINE)
    assert house.rows(rows) == before
    made = checked(press).publish_document(lower, by=COMMAND_LINE, anyway=True)
    [told] = [one for one in made.findings if one["code"] == "limit_below_held"]
    assert (told["witness"]["member.open"], told["witness"]["member.capacity"]) == (3, 1)
    assert house.value("SELECT count(*) FROM offers WHERE state = 'offered'") == len(leads)
    house.lead("later")
    house.work()
    assert house.value("SELECT count(*) FROM offers WHERE state = 'offered'") == len(leads)


def test_N10_the_command_line_tells_each_finding_with_its_place_lead_and_fix(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(written().source, "utf-8")
    done = CliRunner().invoke(cli, ["policy", "check", str(file)])
    assert done.exit_code == 0
    line = next(n for n, text in enumerate(file.read_text("utf-8").splitlines(), 1) if "name: better" in text)
    assert f"warning: {file}:{line}:5: rules[1]: better gets no lead" in done.output
    assert "shown by: lead.country" in done.output
    assert "fix: Move better above good" in done.output
    assert "can be published: " in done.output
    file.write_text(written(ODD_RULES.replace("{score: 7}", "{score: 3}")).source, "utf-8")
    done = CliRunner().invoke(cli, ["policy", "check", str(file), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)[0]["code"] == "failing_example"
    file.write_text("pools: [*a]", "utf-8")
    done = CliRunner().invoke(cli, ["policy", "check", str(file)])
    assert (done.exit_code, done.output.count("error: ")) == (1, 1)

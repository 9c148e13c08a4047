"""Drafts, schedules, publishing and rolling back (row M10), by one or by two people (row Z6)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from routing.errors import BadInput
from routing.policy_diff import differences
from routing.versions import (
    NeedsApproval,
    NotADraft,
    Overtaken,
    State,
    UnknownVersion,
    VersionChanged,
    Writer,
)
from storage.postgres.audit import Audit
from storage.postgres.explain import Explain
from storage.postgres.roster_changes import RosterChanges
from tests.integration.policy.conftest import COMMAND_LINE, Press
from tests.integration.routing.house import document

SOON = timedelta(seconds=-1)


def at(later: timedelta) -> datetime:
    return datetime.now(UTC) + later


def test_M10_a_draft_is_written_published_and_replaced_and_every_decision_names_its_version(press: Press) -> None:
    house, publisher = press.house, press.publisher()
    house.member("near")
    ann = press.manager("Ann")
    draft = publisher.draft(press.written(reassignments=1), by=ann, note="fewer")
    assert (draft.state, draft.author, draft.base, draft.edition) == (State.DRAFT, "Ann", 1, 1)
    first = house.lead("first")
    house.work()
    made = publisher.publish(draft.version, by=ann)
    second = house.lead("second")
    house.work()
    assert (made.state, made.replaced, made.published_by, made.names) == (State.PUBLISHED, 1, "Ann", ("Ann",))
    used = house.rows("SELECT lead_id, policy_version FROM decisions ORDER BY seq")
    assert [tuple(row) for row in used] == [(first, 1), (second, draft.version)]
    assert [(e.version.version, e.decisions) for e in publisher.history()] == [(draft.version, 1), (1, 1)]
    assert publisher.policies.one(1).state is State.RETIRED


def test_M10_rolling_back_is_one_action_counts_from_the_next_lead_and_changes_no_pending_deadline(press: Press) -> None:
    house, publisher = press.house, press.publisher()
    house.member("near", capacity=10)
    shorter = publisher.publish_document(press.written(answer_within="1h"), by=COMMAND_LINE)
    pending = house.lead("pending")
    house.work()
    deadline = "SELECT expires_at, remind_at, version FROM offers WHERE lead_id = :lead"
    [before] = house.rows(deadline, lead=pending)
    back = publisher.rollback(1, by=COMMAND_LINE)
    after = house.lead("after")
    house.work()
    assert house.rows(deadline, lead=pending) == [before]
    [until] = house.rows("SELECT expires_at - offered_at AS time FROM offers WHERE lead_id = :lead", lead=after)
    assert until.time == timedelta(hours=4)
    assert (back.version, back.restores, back.replaced) == (shorter.version + 1, 1, shorter.version)
    assert differences(publisher.policies.get(1), publisher.policies.get(back.version)) == []
    assert house.value("SELECT policy_version FROM decisions WHERE lead_id = :lead", lead=after) == back.version


def test_only_what_was_in_force_is_rolled_back_to(press: Press) -> None:
    publisher = press.publisher()
    draft = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE)
    with pytest.raises(NotADraft, match="never was in force"):
        publisher.rollback(draft.version, by=COMMAND_LINE)
    with pytest.raises(UnknownVersion):
        publisher.rollback(99, by=COMMAND_LINE)
    assert publisher.rollback(1, by=COMMAND_LINE).version == 1  # it is in force: nothing to do


def test_of_two_drafts_published_at_once_one_wins_and_the_other_hears_what_is_in_force(press: Press) -> None:
    publisher = press.publisher()
    drafts = [publisher.draft(press.written(reassignments=n), by=COMMAND_LINE).version for n in (1, 2)]

    def publish(version: int) -> object:
        try:
            return publisher.publish(version, by=COMMAND_LINE).version
        except Overtaken as exc:
            return exc

    with ThreadPoolExecutor(2) as both:
        outcome = dict(zip(drafts, both.map(publish, drafts), strict=True))
    [winner] = [version for version, said in outcome.items() if said == version]
    [(loser, refused)] = [(version, said) for version, said in outcome.items() if version != winner]
    assert isinstance(refused, Overtaken)
    assert refused.in_force == winner
    assert f"--replacing {winner}" in str(refused)
    assert publisher.policies.in_force() == winner
    # written anew on top of it, or put in its place with open eyes
    with pytest.raises(Overtaken):
        publisher.publish(loser, by=COMMAND_LINE, replacing=1)
    publisher.edit(loser, press.written(reassignments=7), by=COMMAND_LINE, base=winner)
    assert publisher.publish(loser, by=COMMAND_LINE).replaced == winner
    forced = publisher.draft(press.written(reassignments=8), by=COMMAND_LINE, base=1)
    assert publisher.publish(forced.version, by=COMMAND_LINE, replacing=loser).replaced == loser


def test_M10_a_scheduled_version_is_published_once_when_it_is_due(press: Press) -> None:
    publisher = press.publisher()
    draft = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE)
    planned = publisher.schedule(draft.version, at(timedelta(hours=1)), by=COMMAND_LINE)
    assert (planned.state, publisher.publish_due()) == (State.SCHEDULED, [])
    publisher.schedule(draft.version, at(SOON), by=COMMAND_LINE)
    with ThreadPoolExecutor(4) as relays:
        published = [v for found in relays.map(lambda _: publisher.publish_due(), range(4)) for v in found]
    assert set(published) == {draft.version}
    entries = [one for one in Audit(press.house.engine).latest() if one.action == "policy.published"]
    assert [one.detail["version"] for one in entries].count(draft.version) == 1
    assert (publisher.policies.in_force(), publisher.publish_due()) == (draft.version, [])


def test_the_relay_publishes_what_is_due(press: Press) -> None:
    publisher = press.publisher()
    draft = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE)
    publisher.schedule(draft.version, at(SOON), by=COMMAND_LINE)
    object.__setattr__(press.house.sweeper, "publish_due", publisher.publish_due)
    assert press.house.tick()["published"] == 1
    assert press.house.ledger.published().version == draft.version


def test_a_cancelled_schedule_is_a_draft_again_and_a_draft_may_be_given_up(press: Press) -> None:
    publisher = press.publisher()
    draft = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE).version
    publisher.schedule(draft, at(SOON), by=COMMAND_LINE)
    assert publisher.cancel(draft, by=COMMAND_LINE).state is State.DRAFT
    assert publisher.cancel(draft, by=COMMAND_LINE).state is State.DRAFT
    assert publisher.publish_due() == []
    assert publisher.retire(draft, by=COMMAND_LINE).state is State.RETIRED
    assert publisher.retire(draft, by=COMMAND_LINE).state is State.RETIRED
    with pytest.raises(NotADraft):
        publisher.publish(draft, by=COMMAND_LINE)
    with pytest.raises(NotADraft):
        publisher.retire(1, by=COMMAND_LINE)


def test_what_is_due_and_cannot_be_published_is_a_draft_again_and_says_why(press: Press) -> None:
    publisher = press.publisher()
    late = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE).version
    broken = publisher.draft(press.written(reassignments=2), by=COMMAND_LINE).version
    publisher.schedule(late, at(SOON), by=COMMAND_LINE)
    publisher.schedule(broken, at(SOON), by=COMMAND_LINE, replacing=late)
    press.house.run("UPDATE policies SET document = '{\"pools\": 1}', source = NULL WHERE version = :v", v=broken)
    other = publisher.publish_document(press.written(reassignments=3), by=COMMAND_LINE)
    assert publisher.publish_due() == []
    found = {one.version: one for one in publisher.policies.set_back()}
    assert found.keys() == {late, broken}
    assert "now version" in found[late].problem
    assert found[broken].problem.startswith("pools: ")
    assert publisher.policies.in_force() == other.version


def test_a_second_version_is_scheduled_on_top_of_one_that_is_to_come(press: Press) -> None:
    publisher = press.publisher()
    monday, tuesday = (publisher.draft(press.written(reassignments=n), by=COMMAND_LINE).version for n in (1, 2))
    publisher.schedule(monday, at(SOON - timedelta(seconds=1)), by=COMMAND_LINE)
    publisher.schedule(tuesday, at(SOON), by=COMMAND_LINE, replacing=monday)
    after, before = (publisher.draft(press.written(reassignments=n), by=COMMAND_LINE).version for n in (5, 6))
    publisher.schedule(before, at(SOON), by=COMMAND_LINE, replacing=tuesday)
    with pytest.raises(Overtaken, match=f"which is scheduled before it. Schedule it with `--replacing {before}`"):
        publisher.schedule(after, at(SOON), by=COMMAND_LINE)
    publisher.schedule(after, at(SOON), by=COMMAND_LINE, replacing=before)
    assert publisher.overtaken() == []
    assert publisher.publish_due() == [monday, tuesday, before, after]
    late = publisher.draft(press.written(reassignments=7), by=COMMAND_LINE).version
    publisher.schedule(late, at(timedelta(hours=1)), by=COMMAND_LINE)
    publisher.rollback(monday, by=COMMAND_LINE)
    assert [one.version for one in publisher.overtaken()] == [late]
    unknown = publisher.draft(press.written(reassignments=4), by=COMMAND_LINE).version
    with pytest.raises(Overtaken):
        publisher.schedule(unknown, at(SOON), by=COMMAND_LINE, replacing=1)


def test_an_edit_is_refused_to_who_has_seen_an_older_edition(press: Press) -> None:
    publisher = press.publisher()
    draft = publisher.draft(press.written(reassignments=1), by=COMMAND_LINE)
    edited = publisher.edit(draft.version, press.written(reassignments=2), by=COMMAND_LINE, edition=draft.edition)
    assert edited.edition == 2
    changes: list[Callable[[], object]] = [
        lambda: publisher.edit(draft.version, press.written(), by=COMMAND_LINE, edition=1),
        lambda: publisher.publish(draft.version, by=COMMAND_LINE, edition=1),
        lambda: publisher.retire(draft.version, by=COMMAND_LINE, edition=1),
    ]
    for change in changes:
        with pytest.raises(VersionChanged):
            change()
    publisher.publish(draft.version, by=COMMAND_LINE, edition=2)
    with pytest.raises(NotADraft):
        publisher.edit(draft.version, press.written(), by=COMMAND_LINE)


def test_a_draft_that_is_not_sound_is_refused_with_its_line_and_nothing_is_kept(press: Press) -> None:
    publisher, wrong = press.publisher(), press.written()
    wrong["pools"][0]["mode"] = "unfair"
    with pytest.raises(BadInput, match=r"pools\[0\].mode"):
        publisher.draft(wrong, by=COMMAND_LINE)
    assert [one.version for one in publisher.policies.all()] == [1]


def test_what_was_written_is_shown_as_it_was_written_comments_and_all(press: Press) -> None:
    publisher = press.publisher()
    made = publisher.publish_document(press.written(comment="Ann's own words: 5 < 6", reassignments=1), by=COMMAND_LINE)
    assert publisher.text().startswith("# Ann's own words: 5 < 6\n")
    assert publisher.text(1) == publisher.text(1).lstrip("#")  # it came without a text
    assert differences(publisher.document(made.version), publisher.policies.get(made.version)) == []


# --- two people


def test_Z6_a_sensitive_policy_is_published_by_two_and_both_are_named(press: Press) -> None:
    publisher, ann, bob = press.publisher(), press.manager("Ann"), press.manager("Bob")
    sensitive: dict[str, Any] = document(reassignments=1) | {"sensitive": True}
    for anonymous in (Writer("fairturn policy"), ann):
        with pytest.raises(NeedsApproval):
            publisher.publish_document(sensitive, by=anonymous)
    draft = publisher.draft(sensitive, by=ann).version
    with pytest.raises(NeedsApproval, match="Ann wrote it"):
        publisher.publish(draft, by=bob)  # who publishes has not read it yet
    with pytest.raises(NeedsApproval, match="Ann wrote version"):
        publisher.approve(draft, by=ann)
    with pytest.raises(NeedsApproval, match="person"):
        publisher.approve(draft, by=COMMAND_LINE)
    publisher.approve(draft, by=bob)
    publisher.approve(draft, by=bob)
    made = publisher.publish(draft, by=ann)
    assert made.names == ("Ann", "Bob")
    press.house.member("near")
    lead = press.house.lead("a")
    press.house.work()
    story = Explain(press.house.engine).lead(str(lead))
    assert story is not None
    [decision] = story.decisions
    assert (decision.policy_version, decision.policy_names) == (draft, ("Ann", "Bob"))
    # and whatever takes its place needs two as well, also if it is not marked itself
    with pytest.raises(NeedsApproval):
        publisher.publish_document(document(), by=ann)
    # back, with the names of those who stood for it then
    house_first = publisher.draft(document(reassignments=2), by=bob).version
    publisher.approve(house_first, by=ann)
    publisher.publish(house_first, by=bob)
    assert publisher.rollback(made.version, by=bob).names == ("Bob", "Ann")


def test_Z6_by_setting_every_policy_needs_two_and_an_edit_takes_approvals_back(press: Press) -> None:
    publisher, ann, bob = press.publisher(people=2), press.manager("Ann"), press.manager("Bob")
    draft = publisher.draft(press.written(reassignments=1), by=ann).version
    publisher.approve(draft, by=bob)
    publisher.edit(draft, press.written(reassignments=2), by=ann)
    with pytest.raises(NeedsApproval):
        publisher.schedule(draft, at(SOON), by=ann)
    publisher.approve(draft, by=bob)
    publisher.schedule(draft, at(SOON), by=ann)
    assert publisher.publish_due() == [draft]
    assert publisher.policies.one(draft).names == ("Ann", "Bob")


def test_Z6_who_edits_what_another_wrote_cannot_approve_it(press: Press) -> None:
    publisher, ann, bob, eve = press.publisher(people=2), *(press.manager(n) for n in ("Ann", "Bob", "Eve"))
    draft = publisher.draft(press.written(reassignments=1), by=ann).version
    publisher.edit(draft, press.written(reassignments=2), by=bob)
    for writer in (ann, bob):
        with pytest.raises(NeedsApproval):
            publisher.approve(draft, by=writer)
    publisher.approve(draft, by=eve)
    assert publisher.publish(draft, by=ann).names == ("Ann", "Bob", "Eve")


def test_E3_the_history_of_the_roster_tells_who_when_before_and_after(press: Press) -> None:
    press.house.member("near", capacity=3)
    press.house.member("near", capacity=4)
    press.house.members.pause(["near"], actor="ann")
    newest, raised, added = RosterChanges(press.house.engine).latest()
    assert newest.before
    assert newest.after
    assert raised.before
    assert raised.after
    assert added.after
    assert (newest.actor, newest.before["active"], newest.after["active"]) == ("ann", True, False)
    assert (raised.actor, raised.before["capacity"], raised.after["capacity"]) == ("test", 3, 4)
    assert (added.before, added.after["key"]) == (None, "near")
    assert newest.roster_version > raised.roster_version > added.roster_version

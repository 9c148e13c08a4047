"""`fairturn policy`, as people type it."""

import json
from pathlib import Path

import pytest

from config import policy as policy_file
from config.ops import Ops
from routing.dispatcher import Dispatcher
from storage.postgres.ledger import RoutingLedger
from storage.postgres.vitals import Vitals
from storage.redis.broker import Broker
from tests import command_line
from tests.integration.policy.conftest import Press
from tests.integration.routing.house import document


def fairturn(press: Press, *words: str, **more: str) -> command_line.Told:
    group = [] if words[0] == "doctor" else ["policy"]
    return command_line.fairturn(press.house, *group, *words, **more)


def test_M10_a_draft_is_compared_published_and_rolled_back_by_the_command_line(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    file = tmp_path / "policy.yaml"
    file.write_text("# fewer moves\n" + policy_file.dump(document(reassignments=1)))
    drafted = fairturn(press, "draft", str(file), "--note", "fewer")
    assert drafted.stdout.startswith("Version 2 is a draft, written on version 1."), drafted.stderr
    compared = fairturn(press, "diff", "live", "2")
    assert (compared.returncode, compared.stdout) == (1, "~ pools[installers].reassignments: 3 -> 1\n")
    assert fairturn(press, "publish", "2").stdout == "Version 2 is published.\n"
    assert fairturn(press, "show").stdout == file.read_text()
    back = fairturn(press, "rollback", "1")
    assert back.stdout == "Version 3 is published: it says what version 1 said.\n"
    told = json.loads(fairturn(press, "history", "--json").stdout)
    assert [(one["version"], one["state"], one["replaced"]) for one in told] == [
        (3, "published", 2),
        (2, "retired", 1),
        (1, "retired", None),
    ]


def test_Z6_the_command_line_names_who_stands_for_a_policy(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    two = {"FAIRTURN_POLICY_APPROVALS": "2"}
    press.manager("Ann")
    press.manager("Bob")
    file = tmp_path / "policy.yaml"
    file.write_text(policy_file.dump(document(reassignments=1)))
    ann, bob = ("--as", "ann@example.com"), ("--as", "bob@example.com")
    assert "--as ADDRESS" in fairturn(press, "publish", str(file), **two).stderr
    kept = fairturn(press, "publish", str(file), *ann, **two)
    assert (kept.returncode, "kept as draft 2" in kept.stderr) == (1, True)
    assert "somebody else must approve" in fairturn(press, "approve", "2", *ann, **two).stderr
    assert fairturn(press, "approve", "2", *bob, **two).stdout == "Version 2: Ann and Bob stand for it.\n"
    assert fairturn(press, "publish", "2", *ann, **two).stdout == "Version 2 is published.\n"
    assert "no manager has this address" in fairturn(press, "approve", "2", "--as", "eve@example.com").stderr


@pytest.mark.parametrize("made", ["null", '"nonsense"', "[1, 2]", "[" * 3000 + "]" * 3000], ids=lambda made: made[:10])
def test_what_is_no_policy_at_all_is_told_wherever_one_looks_and_another_is_published(press: Press, made: str) -> None:
    press.house.member("near")
    press.house.publish(reassignments=1)
    hand = "UPDATE policies SET document = CAST(:made AS jsonb), source = NULL WHERE version = 2"
    press.house.run(hand, made=made)
    goes_on = "version 2 cannot be read (it is no document); version 1 goes on"
    shown = fairturn(press, "show")
    assert (shown.returncode, goes_on in shown.stderr, "Traceback" in shown.stderr) == (2, True, False)
    told = fairturn(press, "history")
    assert (told.returncode, goes_on in told.stderr) == (0, True), told.stderr
    lead = press.house.lead("meanwhile")
    ledger = RoutingLedger(press.house.engine, policy_file.parse)
    Dispatcher(ledger=ledger, turnstile=press.house.turnstile, new_id=press.house.new_id).route([lead])
    assert press.house.value("SELECT policy_version FROM decisions") == 1
    back = fairturn(press, "rollback", "1")
    assert back.stdout == "Version 3 is published: it says what version 1 said.\n", back.stderr
    assert goes_on not in fairturn(press, "history").stderr


def test_a_row_changed_by_hand_is_shown_and_brought_back_as_it_was_published(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    file = tmp_path / "policy.yaml"
    file.write_text("# as written\n" + policy_file.dump(document(reassignments=1)))
    assert fairturn(press, "publish", str(file)).returncode == 0
    press.house.run(
        "UPDATE policies SET document = jsonb_set(document, '{pools,0,reassignments}', '9') WHERE version = 2"
    )
    shown = fairturn(press, "show")
    assert (shown.stdout, "was changed by hand" in shown.stderr) == (file.read_text(), True)
    for back in ("1", "2"):
        assert fairturn(press, "rollback", back).returncode == 0
    assert press.house.ledger.published().pools[0].reassignments == 1


def test_a_policy_that_cannot_be_read_is_shown_with_its_place_wherever_one_looks(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    file = tmp_path / "policy.yaml"
    file.write_text(policy_file.dump(document(reassignments=1)))
    assert fairturn(press, "publish", str(file)).returncode == 0
    source = file.read_text() + "surprise: 1\n"
    made = json.dumps(document(reassignments=1) | {"surprise": 1})
    press.house.run(
        "UPDATE policies SET document = CAST(:made AS jsonb), source = :source, digest = '' WHERE version = 2",
        made=made,
        source=source,
    )
    place = f"surprise (policy line {source.count(chr(10))}, column 1)"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("pools: [\n")
    findings = json.loads(fairturn(press, "doctor", "--json", FAIRTURN_POLICY_FILE=str(wrong)).stdout)
    told = {one["name"]: one for one in findings}
    assert not told["policy"]["ok"]
    for part in (place, "version 2 cannot be read", "version 1 goes on"):
        assert part in told["policy"]["message"]
    assert (told["policy file"]["ok"], "line 2" in told["policy file"]["message"]) == (False, True)
    assert place in fairturn(press, "show").stderr
    ops = Ops(
        ledger=Vitals(press.house.engine),
        turnstile=press.house.turnstile,
        broker=Broker(press.house.redis_url),
        queues=("leads",),
        policy=RoutingLedger(press.house.engine, policy_file.parse).policy_trouble,
    )
    [check] = [one for one in ops.checks() if one.name == "policy"]
    assert (check.ok, "version 1 goes on" in check.detail) == (True, True)
    assert [one.value for one in ops.samples() if one.name == "fairturn_policy_unreadable"] == [1]

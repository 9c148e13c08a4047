"""A whole policy taken out of one house and into another (row W3), and what the command line says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from config import policy as policy_file
from config import policy_bundle, policy_text
from routing.errors import BadInput
from routing.policy_diff import differences
from tests.integration.policy.conftest import COMMAND_LINE, Press
from tests.integration.routing.house import document

SOUTH = b"country,region,pool\nAU,Victoria,installers\nNZ,Otago,installers\n"


def with_a_table(press: Press) -> policy_text.Written:
    """A policy whose table is a content of its own."""
    held = press.contents.put(SOUTH)
    table = {"key": ["lead.country", "lead.region"], "columns": {"pool": "text"}, "content": held}
    made = document() | {"tables": {"territory": table}}
    return policy_text.read("# the south of the map\n" + policy_file.dump(made), "policy.yaml")


@pytest.mark.parametrize("name", ["out", "out.json"])
def test_W3_a_policy_goes_into_another_house_without_loss(press: Press, tmp_path: Path, name: str) -> None:
    publisher = press.publisher()
    made = publisher.publish_document(with_a_table(press), by=COMMAND_LINE, note="south")
    policy_bundle.write(publisher.export(), tmp_path / name)
    press.contents.held.clear()  # the other house has never seen the table
    found = policy_bundle.read(tmp_path / name)
    draft = publisher.draft(publisher.take_in(found), by=COMMAND_LINE)
    assert differences(publisher.policies.get(made.version), publisher.policies.get(draft.version)) == []
    assert publisher.text(draft.version) == publisher.text(made.version)
    assert publisher.text(draft.version).startswith("# the south of the map\n")
    assert list(press.contents.held.values()) == [SOUTH]
    assert found.origin["note"] == "south"


def test_W3_what_was_damaged_on_the_way_is_refused(press: Press, tmp_path: Path) -> None:
    publisher = press.publisher()
    publisher.publish_document(with_a_table(press), by=COMMAND_LINE)
    folder, file = tmp_path / "out", tmp_path / "out.json"
    for place in (folder, file):
        policy_bundle.write(publisher.export(), place)
    [content] = (folder / "contents").iterdir()
    content.write_bytes(SOUTH + b"XX,,nobody\n")
    with pytest.raises(BadInput, match="is not what its name says"):
        policy_bundle.read(folder)
    content.unlink()
    with pytest.raises(BadInput, match="is not with it"):
        policy_bundle.read(folder)
    told: dict[str, Any] = json.loads(file.read_text())
    changes: list[dict[str, Any]] = [
        {"document": {**told["document"], "sensitive": True}},
        {"contents": {}},
        {"fairturn_policy": 2},
        {"contents": {next(iter(told["contents"])): {"base64": "!"}}},
    ]
    for change in changes:
        file.write_text(json.dumps(told | change))
        with pytest.raises(BadInput):
            policy_bundle.read(file)
    for nonsense in ("[]", "{", "[" * 100_000):
        file.write_text(nonsense)
        with pytest.raises(BadInput):
            policy_bundle.read(file)
    with pytest.raises(BadInput, match="do not fit into YAML"):
        policy_bundle.write(publisher.export(), tmp_path / "out.yaml")

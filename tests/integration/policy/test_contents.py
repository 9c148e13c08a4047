"""Tables and areas that are files: taken into the policy by command, kept once, found again by every process."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import policy_contents, policy_text
from config.policy import parse
from config.policy_text import Written
from routing.errors import BadInput
from storage.postgres.contents import Contents, digest_of
from tests.integration.policy.conftest import COMMAND_LINE, Press
from tests.integration.policy.test_commands import fairturn
from tests.integration.routing.house import document

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CSV = b"country,postal_code,pool\nUS,941,installers\nUS,100,installers\n"
SQUARE = b'{"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}'


def test_a_file_is_kept_once_and_given_back_by_its_digest(press: Press) -> None:
    contents = Contents(press.house.engine)
    assert contents.put(CSV) == contents.put(CSV) == digest_of(CSV)
    assert contents.get(digest_of(CSV)) == CSV


def test_a_file_that_is_not_here_is_asked_for_by_the_command_that_brings_it(press: Press) -> None:
    with pytest.raises(BadInput, match="fairturn policy table"):
        Contents(press.house.engine).get(digest_of(b"nothing"))


def test_a_table_whose_file_is_gone_is_named_with_its_line(press: Press) -> None:
    parts = f"{{t: {{key: [lead.country], columns: {{pool: text}}, content: '{digest_of(b'gone')}'}}}}"
    place = r"^tables.t \(policy.yaml line 4, column 10\).content: "
    with pytest.raises(BadInput, match=place + ".*is not here. Bring its file"):
        parse(written(BASE + f"tables: {parts}\n"), 0, contents=Contents(press.house.engine).get)


def written(text: str) -> Written:
    return policy_text.read(text, "policy.yaml")


BASE = """\
pools: # who takes turns
  - {name: installers, market: main, rings: {unit: mi, radii: [50]}}
default_tier: {capacity: 5}
"""


def test_a_new_table_needs_a_key_and_its_other_columns_are_text() -> None:
    with pytest.raises(BadInput, match="--key"):
        policy_contents.with_table(written(BASE), "t", CSV, digest_of(CSV), contents=dict[str, bytes]().__getitem__)
    made = policy_contents.with_table(
        written(BASE),
        "t",
        CSV,
        digest_of(CSV),
        contents=dict[str, bytes]().__getitem__,
        key=["lead.country", "lead.postal_code[:3]"],
    )
    assert made["tables"]["t"]["columns"] == {"pool": "text"}


def test_a_column_that_is_named_leaves_the_others_as_they_were_or_text() -> None:
    ranked = b"country,postal_code,pool,rank\nUS,941,installers,3\n"
    made = policy_contents.with_table(
        written(BASE),
        "t",
        ranked,
        digest_of(ranked),
        contents=dict[str, bytes]().__getitem__,
        key=["lead.country", "lead.postal_code*"],
        columns={"rank": "whole"},
    )
    assert made["tables"]["t"]["columns"] == {"pool": "text", "rank": "whole"}
    wider = b"country,postal_code,pool,rank,since\nUS,941,installers,3,2026-03-01\n"
    with pytest.raises(BadInput, match=r"t.csv line 1: no column is called since"):
        policy_contents.with_table(made, "t", wider, digest_of(wider), contents=dict[str, bytes]().__getitem__)
    made = policy_contents.with_table(
        made, "t", wider, digest_of(wider), contents=dict[str, bytes]().__getitem__, columns={"since": "date"}
    )
    assert made["tables"]["t"]["columns"] == {"pool": "text", "rank": "whole", "since": "date"}


def test_a_newer_file_takes_the_old_ones_place_and_the_comments_stay() -> None:
    before = digest_of(CSV)
    text = (
        BASE
        + f"tables:\n  t: {{key: [lead.country, 'lead.postal_code[:3]'], columns: {{pool: text}}, content: {before}}}\n"
    )
    newer = CSV + b"US,606,installers\n"
    made = policy_contents.with_table(written(text), "t", newer, digest_of(newer), contents={before: CSV}.__getitem__)
    assert isinstance(made, Written)
    assert made.source == text.replace(before, digest_of(newer))


def test_a_wrong_file_is_refused_by_its_line_and_nothing_is_made() -> None:
    broken = CSV + b"US,941,installers\n"
    with pytest.raises(BadInput, match=r"t.csv line 4: the key us, 941 is there twice"):
        policy_contents.with_table(
            written(BASE),
            "t",
            broken,
            digest_of(broken),
            contents=dict[str, bytes]().__getitem__,
            key=["lead.country", "lead.postal_code[:3]"],
        )


def test_M7_a_row_more_in_the_file_needs_no_change_of_a_rule(press: Press) -> None:
    contents = Contents(press.house.engine)
    doc = document() | {
        "tables": {
            "t": {
                "key": ["lead.country", "lead.postal_code[:3]"],
                "columns": {"pool": "text"},
                "content": contents.put(CSV),
            }
        },
        "rules": [{"name": "by-table", "then": {"pool": {"table": "t", "column": "pool"}}}],
        "default": {"review": "nobody works there"},
    }
    before = parse(doc, 1, contents=contents.get).rulebook
    made = policy_contents.with_table(
        doc, "t", CSV + b"US,606,installers\n", digest_of(CSV + b"US,606,installers\n"), contents=contents.get
    )
    contents.put(CSV + b"US,606,installers\n")
    after = parse(made, 2, contents=contents.get).rulebook
    assert made["rules"] == doc["rules"]
    lead = {"lead.country": "US", "lead.postal_code": "60614"}
    assert before is not None
    assert after is not None
    courses = [book.course(lead, NOW) for book in (before, after)]
    assert [course.rule for course in courses if course] == ["default", "by-table"]


def test_G8_tables_and_areas_come_into_the_policy_by_command(press: Press, tmp_path: Path) -> None:
    press.house.member("near")
    table, area = tmp_path / "t.csv", tmp_path / "north.geojson"
    table.write_bytes(CSV)
    area.write_bytes(SQUARE)
    key = ("--key", "lead.country", "--key", "lead.postal_code[:3]")
    assert fairturn(press, "table", "t", str(table), *key, "--publish").stdout == "Version 2 is published.\n"
    made = fairturn(press, "area", "north", str(area))
    assert made.stdout.startswith("Version 3 is a draft"), made.stderr
    assert fairturn(press, "publish", "3").stdout == "Version 3 is published.\n"
    area.write_bytes(b'{"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}')
    refused = fairturn(press, "area", "north", str(area), "--publish")
    assert (refused.returncode, "self-intersection" in refused.stderr) == (2, True)


def test_a_table_and_an_area_are_put_into_one_draft_that_keeps_its_comments_and_its_note(
    press: Press, tmp_path: Path
) -> None:
    press.house.member("near")
    table, area, file = tmp_path / "t.csv", tmp_path / "a.geojson", tmp_path / "policy.yaml"
    table.write_bytes(CSV)
    area.write_bytes(SQUARE)
    file.write_text(BASE)
    assert fairturn(press, "draft", str(file), "--note", "spring").returncode == 0
    keys = ("--key", "lead.country", "--key", "lead.postal_code[:3]")
    assert fairturn(press, "table", "where", str(table), *keys, "--on", "2").returncode == 0
    done = fairturn(press, "area", "north", str(area), "--on", "2")
    assert done.stdout.startswith("Version 2 is a draft, written on version 1."), done.stderr
    shown = fairturn(press, "show", "2").stdout
    assert (shown.startswith(BASE), digest_of(CSV) in shown, digest_of(SQUARE) in shown) == (True, True, True)
    assert fairturn(press, "publish", "2").stdout.startswith("Version 2 is published.")
    assert press.house.value("SELECT note FROM policies WHERE version = 2") == (
        "spring; table where from t.csv; area north from a.geojson"
    )
    late = fairturn(press, "area", "north", str(area), "--on", "2")
    assert (late.returncode, late.stderr) == (1, "Version 2 is published; this is for a version that is a draft.\n")


def test_files_that_no_version_names_are_listed_and_removed_once_they_are_old(press: Press) -> None:
    contents = Contents(press.house.engine)
    for body in (CSV, SQUARE, b"just now"):
        contents.put(body)
    publisher = press.publisher()
    made = {**document(), "areas": {"north": {"content": digest_of(SQUARE)}}}
    press.contents.put(SQUARE)
    version = publisher.draft(made, by=COMMAND_LINE).version
    press.house.run("UPDATE contents SET created_at = created_at - interval '2 hours' WHERE body <> 'just now'")
    assert {one.digest: one.versions for one in contents.all()} == {
        digest_of(CSV): (),
        digest_of(SQUARE): (version,),
        digest_of(b"just now"): (),
    }
    told = fairturn(press, "contents", "--remove-unused").stdout
    assert "1 files that no version names are removed." in told
    assert {one.digest for one in contents.all()} == {digest_of(SQUARE), digest_of(b"just now")}


def test_a_file_whose_columns_are_divided_by_semicolons_is_refused_at_its_first_line() -> None:
    body = CSV.replace(b",", b";")
    with pytest.raises(BadInput, match="divided by semicolons") as caught:
        policy_contents.with_table(
            written(BASE), "t", body, digest_of(body), contents=dict[str, bytes]().__getitem__, key=["lead.country"]
        )
    assert caught.value.field == "t.csv line 1"

"""The offline verifier as a command: what it is given may be torn, forged, or no chain at all."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from routing import seal_verify

Lines = list[dict[str, Any]]


BEGUN = datetime(2020, 1, 1, tzinfo=UTC)


def chain(*batches: Sequence[str], extra: dict[str, Any] | None = None, removes: int = 0, days: int = 400) -> Lines:
    """Seals of decisions, a day each; then one of the note, so many days later, that those up to `removes` go."""
    heads, lines = list[str](), Lines()
    made = [("decisions", {ref: {"id": ref, **(extra or {})} for ref in refs}) for refs in batches]
    if removes:
        detail = {"before": (BEGUN + timedelta(days=30)).isoformat(), "upto": {"decisions": removes}}
        made.append(("audit", {"note": {"action": seal_verify.REMOVES, "detail": json.dumps(detail)}}))
    for number, (kind, rows) in enumerate(made, start=1):
        key = bytes([number]) * 32
        leaves = {ref: seal_verify.leaf(seal_verify.salt_of(key, ref), row) for ref, row in rows.items()}
        root = seal_verify.levels(list(leaves.values()), key)[-1][0].hex()
        links = [heads[n - 1] for n in seal_verify.linked(number)]
        at = BEGUN + (timedelta(days=number) if kind == "decisions" else timedelta(days=30 + days))
        seal = {"number": number, "kind": kind, "root": root, "links": links, "at": at.isoformat()}
        heads.append(seal_verify.head(seal))
        lines.append({"seal": seal, "head": heads[-1], "key": key.hex(), "removed": False})
        lines += [{"ref": ref, "leaf": leaves[ref].hex(), "row": row} for ref, row in rows.items()]
    return lines


def checked(path: Path, lines: Sequence[object], *more: str) -> int:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return seal_verify.main([str(path), *more])


def test_a_chain_is_read_as_one_whatever_its_rows_say(tmp_path: Path) -> None:
    assert checked(tmp_path / "chain", chain(["a"], ["b"], extra={"facts": {"entries": 1}})) == 0


def test_a_seal_whose_key_and_rows_were_cut_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = chain(["a", "b"], ["c"])
    del lines[0]["key"], lines[1:3]
    assert checked(tmp_path / "chain", lines) == 1
    assert "seal 1 has no key" in capsys.readouterr().out


def test_seals_alone_are_sound_and_nothing_at_all_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seals = [line for line in chain(["a"], ["b"]) if line.pop("key", None)]
    assert checked(tmp_path / "seals", seals) == 0
    assert checked(tmp_path / "empty", []) == 1
    assert "there is no seal in it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "forged",
    [
        3,
        [],
        None,
        {"other": 1},
        {"seal": 1},
        {"seal": {"number": "x"}},
        {"ref": "c", "leaf": "zz", "row": {}},
        {"ref": "c"},
    ],
)
def test_a_line_that_is_no_seal_and_no_row_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], forged: object
) -> None:
    assert checked(tmp_path / "chain", [*chain(["a"]), forged]) == 1
    assert "line 3 cannot be read as a seal or a row of one" in capsys.readouterr().out


def test_a_torn_proof_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path / "proof", [{"entries": []}]) == 1
    assert "parts of the proof are missing" in capsys.readouterr().out


@pytest.mark.parametrize("kept", ["2", "2:", "x:ab", "2:abc", ":"])
def test_a_seal_kept_elsewhere_that_is_not_written_whole_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        checked(tmp_path / "chain", chain(["a"], ["b"]), "--head", kept)
    assert ended.value.code == 2
    assert "NUMBER:HEX" in capsys.readouterr().err


def test_a_seal_kept_elsewhere_is_compared(tmp_path: Path) -> None:
    lines = chain(["a"], ["b"])
    newest = lines[2]["head"]
    assert checked(tmp_path / "chain", lines, "--head", f"2:{newest}") == 0
    assert checked(tmp_path / "chain", lines[:2], "--head", f"2:{newest}") == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        seal_verify.main([str(tmp_path / "nowhere")])
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(("gone", "sound"), [((1,), True), ((1, 2), True), ((2,), False), ((1, 3), False)])
def test_rows_are_gone_for_their_age_only_where_older_ones_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: tuple[int, ...], sound: bool
) -> None:
    lines, kept, removed = chain(["a"], ["b"], ["c"], removes=2), Lines(), False
    for line in lines:
        if "seal" in line:
            removed = line["seal"]["number"] in gone
            kept.append(line | {"removed": removed})
        else:
            kept.append(line | ({"row": None} if removed else {}))
    assert checked(tmp_path / "chain", kept) == (0 if sound else 1)
    assert ("is said to be removed for its age" in capsys.readouterr().out) == (not sound)


@pytest.mark.parametrize(
    ("removes", "days", "noted"),
    [(0, 400, False), (1, 400, True), (1, 59, False)],
)
def test_rows_are_gone_for_their_age_only_where_a_note_sealed_later_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], removes: int, days: int, noted: bool
) -> None:
    seal, row, *later = chain(["a"], removes=removes, days=days)
    kept = [seal | {"removed": True}, row | {"row": None}, *later]
    assert checked(tmp_path / "chain", kept) == (0 if noted else 1)
    assert ("no sealed note says" in capsys.readouterr().out) == (not noted)

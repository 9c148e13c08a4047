"""Sealed rows: whoever changes one is shown which; a partner can check its own, and sees nobody else's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routing import seal_verify
from storage.postgres.seals import Seals
from tests.integration.routing.house import House

VERIFIER = Path(seal_verify.__file__)


@pytest.fixture
def sealed(house: House) -> House:
    house.member("one")
    house.member("two", 40.01, -75.01)
    for n in range(3):
        house.lead(f"lead-{n}")
    house.work()
    assert Seals(house.engine).seal() > 10
    return house


def _file(lines: Any, path: Path) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def _verify(path: Path, *more: str) -> tuple[int, str]:
    """In a process of its own, with nothing but Python's own library."""
    command = [sys.executable, "-I", "-S", str(VERIFIER), str(path), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent, timeout=60)
    assert not done.stderr
    return done.returncode, done.stdout


def test_N5_what_was_written_is_sealed_once_and_found_sound(sealed: House, tmp_path: Path) -> None:
    seals = Seals(sealed.engine)
    assert seals.seal() == 0
    assert list(seals.check()) == []
    kinds = {line["seal"]["kind"] for line in seals.headers()}
    assert kinds == {"policies", "audit", "decisions", "timeline"}
    sealed.lead("lead-9")
    sealed.work()
    assert seals.seal() > 0
    code, said = _verify(_file(seals.chain(), tmp_path / "chain.jsonl"))
    assert (code, "sound" in said, "NOT" in said) == (0, True, False)
    rows = sum(sealed.value(f"SELECT count(*) FROM {t}") for t in ("decisions", "timeline", "audit", "policies"))  # noqa: S608
    assert f"over {rows} rows" in said


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("decisions", "UPDATE decisions SET reason = 'friend' WHERE id = '{ref}'"),
        ("timeline", "UPDATE timeline SET at = at - interval '1 second' WHERE id = {ref}"),
        ("audit", "UPDATE audit SET actor = 'somebody else' WHERE id = {ref}"),
        ("policies", "UPDATE policies SET note = 'better' WHERE version = {ref}"),
        ("timeline", "DELETE FROM timeline WHERE id = {ref}"),
    ],
)
def test_N5_a_row_that_was_changed_is_pointed_to(sealed: House, tmp_path: Path, table: str, statement: str) -> None:
    key = "version" if table == "policies" else "id"
    ref = str(sealed.value(f"SELECT {key} FROM {table} ORDER BY 1 LIMIT 1"))  # noqa: S608 - our own tables
    sealed.run(
        "SET session_replication_role = replica; " + statement.format(ref=ref) + "; RESET session_replication_role"
    )
    problems = list(Seals(sealed.engine).check())
    assert len(problems) == 1
    assert problems[0].startswith(f"{table} {ref} ")
    code, said = _verify(_file(Seals(sealed.engine).chain(), tmp_path / "chain.jsonl"))
    assert (code, said.splitlines()[0]) == (1, problems[0])


def test_N5_whoever_hashes_a_changed_row_anew_breaks_its_seal_or_the_chain(sealed: House, tmp_path: Path) -> None:
    lines = list(Seals(sealed.engine).chain())
    newest = Seals(sealed.engine).newest()
    assert newest is not None
    at = next(n for n, line in enumerate(lines) if line.get("row", {}).get("chosen"))
    seal = next(n for n in range(at, -1, -1) if "seal" in lines[n])
    key = bytes.fromhex(lines[seal]["key"])
    lines[at]["row"]["chosen"] = "77"
    assert any("not what was sealed" in said for said in seal_verify.Chain().read(map(json.dumps, lines)))
    lines[at]["leaf"] = seal_verify.leaf(seal_verify.salt_of(key, lines[at]["ref"]), lines[at]["row"]).hex()
    number = lines[seal]["seal"]["number"]
    assert list(seal_verify.Chain().read(map(json.dumps, lines))) == [
        f"seal {number}: its decisions are not those that were sealed"
    ]
    end = next((n for n in range(at, len(lines)) if "seal" in lines[n]), len(lines))
    leaves = [bytes.fromhex(line["leaf"]) for line in lines[seal + 1 : end]]
    lines[seal]["seal"]["root"] = seal_verify.levels(leaves, key)[-1][0].hex()
    lines[seal]["head"] = seal_verify.head(lines[seal]["seal"])
    said = list(seal_verify.Chain().read(map(json.dumps, lines)))
    assert said == [f"seal {number + 1} was not made over the seals before it"]
    for line in lines[end:]:  # and the whole rest anew: then only a hash kept elsewhere tells
        if "seal" in line:
            before = {one["seal"]["number"]: one["head"] for one in lines if "seal" in one}
            line["seal"]["links"] = [before[n] for n in seal_verify.linked(line["seal"]["number"])]
            line["head"] = seal_verify.head(line["seal"])
    path = _file(lines, tmp_path / "chain.jsonl")
    assert _verify(path)[0] == 0
    code, told = _verify(path, "--head", f"{newest[0]}:{newest[1]}")
    assert (code, "kept elsewhere" in told) == (1, True)


def test_N5_a_row_put_in_between_sealed_ones_is_found(sealed: House) -> None:
    gap = sealed.value("SELECT min(id) FROM timeline")
    sealed.run(
        "INSERT INTO timeline (id, lead_id, what, actor) OVERRIDING SYSTEM VALUE SELECT 0, min(id), 'x', 'y' FROM leads"
    )
    sealed.run("ALTER TABLE seals DISABLE TRIGGER USER")
    sealed.run("UPDATE seals SET at = at - interval '1 hour'")
    sealed.run(
        "UPDATE seals SET upto = jsonb_build_object('', jsonb_build_array(0, :gap)) WHERE kind = 'timeline'", gap=gap
    )
    assert "timeline 0 was put in after its neighbours were sealed" in list(Seals(sealed.engine).check())


def test_a_row_that_came_late_is_sealed_by_a_later_seal(house: House) -> None:
    house.lead("lead-1")
    slow = house.engine.connect()
    slow.exec_driver_sql("INSERT INTO timeline (lead_id, what, actor) SELECT id, 'slow', 'test' FROM leads")
    house.member("one")
    house.work()
    seals = Seals(house.engine)
    seals.seal()
    before = house.value("SELECT coalesce(sum(cardinality(refs)), 0) FROM seals WHERE kind = 'timeline'")
    slow.commit()
    slow.close()
    seals.seal()
    assert house.value("SELECT sum(cardinality(refs)) FROM seals WHERE kind = 'timeline'") > before
    refs = house.value("SELECT array_agg(DISTINCT r) FROM seals, unnest(refs) r WHERE kind = 'timeline'")
    assert sorted(map(int, refs)) == [row[0] for row in house.rows("SELECT id FROM timeline ORDER BY id")]
    assert list(seals.check()) == []


def test_N5_a_partner_checks_its_own_entries_and_sees_nobody_elses(sealed: House, tmp_path: Path) -> None:
    seals = Seals(sealed.engine)
    sealed.lead("lead-8")
    sealed.work()
    seals.seal()
    one, two = (sealed.value("SELECT id FROM members WHERE key = :key", key=key) for key in ("one", "two"))
    proof = seals.proof(one)
    assert proof["entries"]
    for entry in proof["entries"]:
        assert json.loads(entry["row"]["detail"])["member"] == one
        assert len(entry["path"]) == seal_verify.STEPS
    others = {str(row[0]) for row in sealed.rows("SELECT id FROM offers WHERE member_id = :two", two=two)}
    text = json.dumps(proof)
    assert others
    assert not any(other in text for other in others)
    path = tmp_path / "proof.json"
    path.write_text(text, "utf-8")
    newest = seals.newest()
    assert newest is not None
    assert _verify(path, "--head", f"{newest[0]}:{newest[1]}")[0] == 0
    proof["entries"][0]["row"]["what"] = "accepted"
    path.write_text(json.dumps(proof), "utf-8")
    code, said = _verify(path)
    assert (code, said.splitlines()[0]) == (1, f"entry {proof['entries'][0]['row']['id']} is not what was sealed")


def test_seals_are_never_changed(sealed: House) -> None:
    from routing.errors import Refused  # noqa: PLC0415 - of this test alone

    with pytest.raises(Refused):
        sealed.run("UPDATE seals SET root = head")
    with pytest.raises(Refused):
        sealed.run("DELETE FROM seals")

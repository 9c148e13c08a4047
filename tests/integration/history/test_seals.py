"""Sealed rows: whoever changes one is shown which; a partner can check its own, and sees nobody else's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routing import seal_verify
from routing.offer import Actor
from storage.postgres.seals import KINDS, Seals
from tests.integration.routing.house import House

TABLES = ("decisions", "timeline", "audit", "policies", "corrections")
VERIFIER = Path(seal_verify.__file__)


@pytest.fixture
def sealed(house: House) -> House:
    house.publish(answers={"reject_reasons": {"too_far": "return", "other": "consume"}})
    house.member("one")
    house.member("two", 40.01, -75.01)
    leads = [house.lead(f"lead-{n}") for n in range(3)]
    house.work()
    offer = house.offer(leads[0])
    house.desk.reject(offer, "too_far", actor=Actor.MEMBER)  # which gives the turn back
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
    assert kinds == set(TABLES)
    sealed.lead("lead-9")
    sealed.work()
    assert seals.seal() > 0
    code, said = _verify(_file(seals.chain(), tmp_path / "chain.jsonl"))
    assert (code, "sound" in said, "NOT" in said) == (0, True, False)
    rows = sum(sealed.value(f"SELECT count(*) FROM {t}") for t in TABLES)  # noqa: S608
    assert f"over {rows} rows" in said


#: How a value of each kind is made another one.
_CHANGED = {
    "text": "{c} || 'x'",
    "bigint": "{c} + 1000000",
    "integer": "{c} + 1",
    "smallint": "{c} + 1",
    "real": "{c} + 0.001",
    "double precision": "{c} + 1e-9",
    "timestamp with time zone": "{c} + interval '1 microsecond'",
    "jsonb": "jsonb_build_object('was', {c})",
    "boolean": "NOT {c}",
    "uuid": "'00000000-0000-4000-8000-000000000000'",
    "ARRAY": "{c} || {c}[1]",
}
_COLUMNS = """
    SELECT column_name, data_type FROM information_schema.columns WHERE table_name = :table AND table_schema = 'public'
"""
_FREELY = "SET session_replication_role = replica; {}; RESET session_replication_role"


def _every_change(house: House, table: str, key: str, ref: str) -> Iterator[tuple[str, str, str]]:
    """Each sealed column of a row: its name, a statement that changes it, one that changes it back."""
    types = {row.column_name: row.data_type for row in house.rows(_COLUMNS, table=table)}
    for name in KINDS[table].columns:
        if name == key:
            continue
        was = house.value(f"SELECT quote_nullable(CAST({name} AS text)) FROM {table} WHERE {key} = '{ref}'")  # noqa: S608
        where = f"WHERE {key} = '{ref}'"
        filled = {"ARRAY": "'{{1}}'", "jsonb": "'{{}}'", "uuid": _CHANGED["uuid"], "boolean": "true"}.get(
            types[name], "'1'"
        )
        made = _CHANGED[types[name]] if was != "NULL" else filled
        if types[name] == "timestamp with time zone" and was == "NULL":
            made = "clock_timestamp()"
        if was == "'{}'":
            made = "'{{1}}'" if types[name] == "ARRAY" else made
        yield (
            name,
            f"UPDATE {table} SET {name} = {made.format(c=name)} {where}",  # noqa: S608 - our own tables
            f"UPDATE {table} SET {name} = {was} {where}",  # noqa: S608 - as above
        )


@pytest.mark.long
def test_N5_a_row_is_pointed_to_whichever_of_its_columns_was_changed(sealed: House) -> None:
    seen = 0
    for table in TABLES:
        key = "version" if table == "policies" else "id"
        ref = str(sealed.value(f"SELECT {key} FROM {table} ORDER BY 1 LIMIT 1"))  # noqa: S608 - our own tables
        for name in sealed.rows(_CHECKS, table=table):
            sealed.run(f"ALTER TABLE {table} DROP CONSTRAINT {name[0]}")
        for name, change, back in _every_change(sealed, table, key, ref):
            sealed.run(_FREELY.format(change).replace(":", "\\:"))
            problems = list(Seals(sealed.engine).check())
            assert [problem.split(" (")[0] for problem in problems] == [f"{table} {ref}"], name
            sealed.run(_FREELY.format(back).replace(":", "\\:"))
            seen += 1
    assert seen > 60
    assert list(Seals(sealed.engine).check()) == []


_CHECKS = "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND contype = 'c'"


def test_N5_rows_taken_out_swapped_or_put_in_are_named_in_every_table(sealed: House, tmp_path: Path) -> None:
    for table in TABLES:
        key = "version" if table == "policies" else "id"
        ref = str(sealed.value(f"SELECT {key} FROM {table} ORDER BY 1 LIMIT 1"))  # noqa: S608 - our own tables
        sealed.run(f"CREATE TABLE kept AS SELECT * FROM {table} WHERE {key} = '{ref}'")  # noqa: S608
        sealed.run(_FREELY.format(f"DELETE FROM {table} WHERE {key} = '{ref}'"))  # noqa: S608
        problems = list(Seals(sealed.engine).check())
        assert [problem.split(" (")[0] for problem in problems] == [f"{table} {ref}"]
        code, said = _verify(_file(Seals(sealed.engine).chain(), tmp_path / "chain.jsonl"))
        assert (code, said.splitlines()[0]) == (1, problems[0])
        over = "OVERRIDING SYSTEM VALUE" if table in {"timeline", "audit"} else ""
        sealed.run(_FREELY.format(f"INSERT INTO {table} {over} SELECT * FROM kept; DROP TABLE kept"))  # noqa: S608
    one, two = (row.id for row in sealed.rows("SELECT id FROM timeline ORDER BY id LIMIT 2"))
    pairs = f"(({one}, {two}), ({two}, {one}))"
    swap = "UPDATE timeline t SET what = o.what, at = o.at FROM timeline o WHERE (t.id, o.id) IN "
    sealed.run(_FREELY.format(swap + pairs))
    problems = list(Seals(sealed.engine).check())
    assert [problem.split(" (")[0] for problem in problems] == [f"timeline {one}", f"timeline {two}"]


def test_N5_seals_that_were_taken_out_are_missed_and_their_rows_named(sealed: House) -> None:
    seals = Seals(sealed.engine)
    sealed.lead("lead-9")
    sealed.work()
    sealed.run("ALTER TABLE seals DISABLE TRIGGER USER")
    assert seals.seal() > 0
    sealed.run("UPDATE seals SET at = at - interval '1 hour'")
    numbers = {
        row.kind: row.number for row in sealed.rows("SELECT kind, min(number) AS number FROM seals GROUP BY kind")
    }
    newest = seals.newest()
    assert newest is not None
    sealed.run("CREATE TABLE kept AS SELECT * FROM seals")
    for kind in ("timeline", "decisions"):
        sealed.run("DELETE FROM seals WHERE number = :number", number=numbers[kind])
        refs = sealed.value("SELECT refs FROM kept WHERE number = :number", number=numbers[kind])
        said = list(seals.check())
        assert {f"{kind} {ref} was put in after its neighbours were sealed" for ref in refs} <= set(said)
        assert any(f"seal {numbers[kind] + 1} comes after seal" in told for told in said)
        sealed.run("INSERT INTO seals SELECT * FROM kept WHERE number = :number", number=numbers[kind])
    sealed.run(
        "DELETE FROM seals WHERE number = :number", number=newest[0]
    )  # the tail: only who kept it elsewhere knows
    assert f"seal {newest[0]}, which was kept elsewhere, is gone" in list(seals.check(newest))


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


def test_N5_a_decision_or_a_table_of_the_policy_that_was_put_in_or_changed_is_found(sealed: House) -> None:
    sealed.run("ALTER TABLE seals DISABLE TRIGGER USER")
    sealed.run("UPDATE seals SET at = at - interval '1 hour'")
    forged = "00000000-0000-4000-8000-000000000001"
    sealed.run("CREATE TABLE forged AS SELECT * FROM decisions ORDER BY seq LIMIT 1")
    sealed.run(_FREELY.format(f"UPDATE forged SET id = '{forged}', seq = 0; INSERT INTO decisions TABLE forged"))  # noqa: S608
    sealed.run("ALTER TABLE contents DROP CONSTRAINT ck_contents_digest")
    sealed.run("INSERT INTO contents (digest, body) VALUES ('sha256\\:' || repeat('0', 64), 'a,b')")
    said = [told for told in Seals(sealed.engine).check() if not told.startswith("seal ")]  # whose times we set back
    assert said == [
        f"decisions {forged} was put in after its neighbours were sealed",
        f"the table or area sha256:{'0' * 64} is not what its digest says",
    ]
    sealed.run(_FREELY.format(f"DELETE FROM decisions WHERE id = '{forged}'"))  # noqa: S608


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

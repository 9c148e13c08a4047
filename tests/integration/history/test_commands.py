"""The past on the command line, on a house of real servers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config import desk, wiring
from routing.errors import BadInput
from tests.integration.routing.house import House
from workers.cli import cli

Run = Callable[..., Result]


@pytest.fixture
def run(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("DATABASE_URL", house.database_url)
    monkeypatch.setenv("REDIS_URL", house.redis_url)
    monkeypatch.setenv("FAIRTURN_BROKER_URL", house.redis_url)
    monkeypatch.setenv("FAIRTURN_TURNSTILE_URL", house.redis_url)
    monkeypatch.setenv("FAIRTURN_DATA_DIR", str(tmp_path))
    _forget()

    def ran(*words: str) -> Result:
        done = CliRunner().invoke(cli, list(words), catch_exceptions=False)
        _forget()
        return done

    yield ran
    _forget()


def _forget() -> None:
    wiring.forget()
    for built in (v for v in vars(desk).values() if hasattr(v, "cache_clear")):
        built.cache_clear()


def _damage_is_told(run: Run, bundle: Path) -> None:
    """Also where it is in what no decision looks at."""
    assert run("verify", "--bundle", str(bundle)).output.strip() == "The same to the byte."
    said = bundle.read_text("utf-8")
    bundle.write_text(said.replace("fairturn decision", "fairturn decisiom"), "utf-8")
    damaged = run("verify", "--bundle", str(bundle))
    assert (damaged.exit_code, "not what was exported" in damaged.output) == (1, True)


def test_N4_N5_N12_E5_E6_each_command_shows_the_same_house(house: House, run: Run, tmp_path: Path) -> None:
    house.member("one", capacity=1)
    house.member("two", 40.01, -75.01, capacity=1)
    for n in range(3):
        house.lead(f"lead-{n}")
    house.work()
    now = house.value("SELECT clock_timestamp()").isoformat()

    assert "same to the byte" in run("verify", "--decisions").output
    told = json.loads(run("verify", "--decisions", "--lead", "lead-0", "--json").output)
    assert (told["decisions"], told["different"]) == (1, [])
    decision = str(house.value("SELECT id FROM decisions LIMIT 1"))
    bundle = tmp_path / "bundle.json"
    assert run("export", "decision", decision, "-o", str(bundle)).exit_code == 0
    _damage_is_told(run, bundle)

    wiring.seals().seal()
    checked = run("verify", "--chain")
    assert (checked.exit_code, "0 problems" in checked.output) == (0, True)
    both = json.loads(run("verify", "--chain", "--sample", "2", "--json").output)
    assert (both["decisions"], both["same"], both["problems"]) == (2, 2, [])
    head = f"{both['newest']['number']}:{both['newest']['hash']}"
    assert run("verify", "--chain", "--head", head).exit_code == 0
    other = run("verify", "--chain", "--head", f"{both['newest']['number']}:{'0' * 64}")
    assert (other.exit_code, "is another than the one that was kept elsewhere" in other.output) == (1, True)
    with pytest.raises(BadInput, match="--head"):
        run("verify", "--chain", "--head", "7")
    chain = run("export", "chain").output.splitlines()
    assert sum("ref" in json.loads(line) for line in chain) == int(
        house.value("SELECT sum(cardinality(refs)) FROM seals")
    )
    assert len(run("export", "seals").output.splitlines()) == house.value("SELECT count(*) FROM seals")

    roster = json.loads(run("at", now, "roster", "--json").output)["roster"]
    assert [(row["member"], row["capacity"]) for row in roster] == [("one", 1), ("two", 1)]
    held = json.loads(run("at", now, "capacity", "--member", "one", "--json").output)["capacity"]
    assert [(row["open"], row["capacity"]) for row in held] == [(1, 1)]
    turns = json.loads(run("at", now, "turns", "--json").output)["turns"]
    assert sum(row["standing"] for row in turns) == 0
    assert "rings:" in run("at", now, "policy").output

    found = json.loads(run("find", "leads", "--state", "waiting", "--format", "json").output)
    assert (found["filters"], found["count"], len(found["leads"])) == ({"state": "waiting"}, 1, 1)
    assert run("export", "leads", "--state", "waiting", "--format", "csv").output.startswith("# filters: ")

    latin = tmp_path / "leads.txt"
    latin.write_bytes(b"lead-0\nG\xf6ttingen\n")
    with pytest.raises(BadInput, match="line 2 is not UTF-8"):
        run("reprocess", "--leads", str(latin), "--dry-run")
    with pytest.raises(BadInput, match="no pool 'nobodys'"):
        run("turns", "show", "--pool", "nobodys")

    house.run("UPDATE leads SET state = 'review', reason = 'error' WHERE state = 'waiting'")
    house.member("three", 40.02)
    dry = json.loads(run("reprocess", "--reason", "error", "--dry-run", "--json").output)
    assert [(one["before"]["reason"], one["after"]["member"]) for one in dry["leads"]] == [("error", "three")]
    assert house.value("SELECT count(*) FROM leads WHERE state = 'review'") == 1
    done = json.loads(run("reprocess", "--reason", "error", "--json").output)
    assert [(one["before"]["reason"], one["after"]["member"]) for one in done["leads"]] == [("error", "three")]
    assert house.value("SELECT count(*) FROM leads WHERE state = 'review'") == 0

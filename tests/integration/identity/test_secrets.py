"""Secrets and personal data stay where they belong: not in the ledger's rows, not in a line of the log."""

import io
import logging
from collections.abc import Iterator

import psycopg
import pytest
import structlog
from click.testing import CliRunner

from config import logs, wiring
from routing.access import Principal, Role
from storage.postgres.clients import APP
from tests.integration.identity.conftest import SECRET, Letterbox, Town, Web, bearer
from workers.cli import cli

EMAIL = "zoe.marker@sunny.example"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that a process would write, at the most talkative level."""
    written = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.setup("DEBUG", "json", process="test", stream=written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def dump(url: str) -> str:
    """Every row of every table, as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f"SELECT x::text FROM {table} x").fetchall() for (table,) in tables]  # noqa: S608
    return "\n".join(text for some in rows for (text,) in some)


def test_no_secret_is_in_the_ledger_and_none_nor_any_address_in_the_log(
    town: Town, door: Web, letters: Letterbox, database_url: str, log: io.StringIO
) -> None:
    town.people.add(name="Zoe Marker", email=EMAIL, role=Role.PARTNER, member="sunny", actor="test")
    key = town.key("offers:read")
    till, secret = town.clients.add("Till", member="sunny", scopes=["offers:read"], actor="test")
    login = door.post("/api/v1/login", json={"email": EMAIL}).json()["login"]
    code, link = letters.came[0][2].code, letters.came[0][2].link
    tokens = door.post("/api/v1/login/verify", json={"login": login, "code": code}).json()
    renewal = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": APP}
    renewed = door.post("/oauth/token", data=renewal).json()
    device = door.post("/oauth/device_authorization", data={"client_id": APP}).json()
    program = {"grant_type": "client_credentials", "client_id": till, "client_secret": secret}
    of_program = door.post("/oauth/token", data=program).json()
    for token in (tokens["access_token"], key, of_program["access_token"], f"{key}x", secret):
        door.get("/offers", headers=bearer(token))
    door.post("/oauth/token", data=renewal)  # a replay
    door.post("/api/v1/login", json={"email": EMAIL, "more": 1})  # bad input
    door.get(f"/offers?email={EMAIL}&access_token={key}")

    secrets = [
        *(code, link, SECRET, secret, key, key.rpartition("_")[2], device["device_code"]),
        *(tokens["refresh_token"], renewed["refresh_token"], tokens["access_token"], of_program["access_token"]),
    ]
    held = dump(database_url)
    assert [one for one in secrets if one in held] == []
    assert "fairturn-app" in held, "the dump is one"
    written = log.getvalue()
    assert [one for one in [*secrets, EMAIL, "Zoe", "Marker"] if one in written] == []
    assert "http.done" in written, "the log is one"


@pytest.mark.parametrize("secret", ["ft_0123456789abcdef_" + "s" * 43, "fr_" + "s" * 43])
def test_a_key_or_token_in_a_sentence_is_blanked(secret: str) -> None:
    assert "sss" not in logs.scrub(f"could not use {secret} here")


@pytest.fixture
def house(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    """The command line on a house of servers that are set."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("FAIRTURN_SECRET", SECRET)
    wiring.forget()
    yield CliRunner()
    wiring.forget()


def say(house: CliRunner, *words: str) -> str:
    done = house.invoke(cli, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output.strip()


def who(bearer: str) -> Principal | None:
    """Whom a new process would take this for."""
    return wiring.gatekeeper().who(bearer)


def client(known: dict[str, str]) -> object:
    tokens = wiring.tokens_for()
    assert tokens is not None
    return tokens.client(known["client_id"], known["client_secret"])


def test_the_command_line_lets_people_in_and_out(house: CliRunner, town: Town) -> None:
    say(house, "user", "add", EMAIL, "--name", "Zoe", "--member", "sunny", "--role", "partner_admin")
    assert EMAIL in say(house, "user", "list", "--json")
    issued = say(house, "token", "issue", EMAIL, "--scope", "offers:read")
    zoe = who(issued)
    assert zoe is not None
    assert (zoe.role, zoe.member_id, zoe.scopes) == ("partner_admin", town.sunny, frozenset({"offers:read"}))
    link = say(house, "user", "link", EMAIL)
    tokens = wiring.tokens_for()
    assert tokens is not None
    assert tokens.by_link(link.rpartition("=")[2]).id == zoe.person_id
    assert "signs in ten minutes" in say(house, "token", "rotate")
    assert who(issued) is not None
    say(house, "user", "disable", EMAIL)
    assert who(issued) is None
    say(house, "user", "enable", EMAIL)
    assert who(issued) is None


def test_the_command_line_lets_programs_in_and_out(house: CliRunner, town: Town) -> None:
    key = say(house, "key", "add", "till", "--member", "sunny", "--scope", "offers:read", "--days", "30")
    till = who(key)
    assert till is not None
    assert (till.member_id, till.scopes) == (town.sunny, frozenset({"offers:read"}))
    assert key.rpartition("_")[2] not in say(house, "key", "list", "--json")
    say(house, "key", "revoke", key.split("_")[1])
    assert who(key) is None
    known = dict(line.split("=", 1) for line in say(house, "client", "add", "Till", "--member", "sunny").splitlines())
    assert client(known) is not None
    say(house, "client", "disable", known["client_id"])
    assert client(known) is None


def test_a_third_key_of_one_name_waits_until_one_is_revoked(house: CliRunner, town: Town) -> None:
    first = say(house, "key", "add", "till", "--member", "sunny")
    say(house, "key", "add", "till", "--member", "sunny")
    refused = house.invoke(cli, ["key", "add", "till", "--member", "sunny"])
    assert "revoke the older one" in str(refused.exception)
    say(house, "key", "revoke", first.split("_")[1])
    say(house, "key", "add", "till", "--member", "sunny")


WRONG = (
    ("user", "add", "no-address", "--name", "x", "--member", "sunny"),
    ("user", "add", EMAIL, "--name", "x", "--member", "nobody"),
    ("user", "add", EMAIL, "--name", "x"),
    ("user", "add", EMAIL, "--name", "x", "--member", "sunny", "--role", "manager"),
    ("user", "disable", "nobody@x.example"),
    ("key", "add", "x", "--member", "nobody"),
)


def test_wrong_words_are_named_with_the_fix(house: CliRunner, town: Town) -> None:
    for words in WRONG:
        done = house.invoke(cli, words)
        assert type(done.exception).__name__ == "BadInput", (words, done.output)
        assert "zoe" not in str(done.exception)

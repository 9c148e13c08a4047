"""docker-compose.yml and the Dockerfile, checked without a Docker engine."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = {"migrate", "subscriber", "worker", "bulk", "courier", "standby", "beat", "web", "flower", "sandbox"}


def _schema() -> Any:
    """The compose specification's own schema, as check-jsonschema carries it."""
    return json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())


def test_it_follows_the_compose_specification() -> None:
    jsonschema.validate(COMPOSE, _schema())


def test_the_schema_would_notice_a_slip() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"web": {"imagee": "x"}}}, _schema())


def test_it_has_every_part_of_the_house() -> None:
    assert set(SERVICES) == OURS | {"postgres", "valkey"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", tag), "a version, not a moving tag"


def test_every_base_image_is_pinned() -> None:
    for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+|fairturn", base)


def test_the_image_does_not_run_as_root_and_says_whether_it_is_well() -> None:
    assert "\nUSER fairturn\n" in DOCKERFILE
    assert DOCKERFILE.count("HEALTHCHECK") == 2
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for path in copied.split():
            assert (ROOT / path).exists()


def test_everything_the_image_copies_passes_the_dockerignore() -> None:
    let_in = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {p for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for p in line.split()}
    assert copied == let_in


def test_no_password_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in re.findall(r"\$\{(\w+)", text):
        assert f"${{{name}:?set it in .env}}" in text
        assert re.search(rf"^{name}=$", (ROOT / "deploy" / "compose.env.example").read_text(), re.MULTILINE)


def test_faces_are_published_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in SERVICES["postgres"]
    assert "ports" not in SERVICES["valkey"]


def test_the_pretend_salesforce_comes_by_its_profile_only() -> None:
    assert SERVICES["sandbox"]["profiles"] == ["sandbox"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["sandbox"]


def test_servers_and_faces_have_health_checks_and_nobody_starts_before_the_ledger_is_ready() -> None:
    for name in ("postgres", "valkey", "web"):
        assert "test" in SERVICES[name]["healthcheck"]
    for name in OURS - {"migrate", "sandbox"}:
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_each_process_uses_its_own_door_to_valkey() -> None:
    assert "//broker:" in SERVICES["worker"]["environment"]["FAIRTURN_BROKER_URL"]
    assert "//turnstile:" in SERVICES["worker"]["environment"]["FAIRTURN_TURNSTILE_URL"]
    assert "//flower:" in SERVICES["flower"]["environment"]["FAIRTURN_BROKER_URL"]
    assert "FAIRTURN_FLOWER_PASSWORD" in SERVICES["flower"]["environment"]

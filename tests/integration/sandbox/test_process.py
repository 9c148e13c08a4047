"""The process: what it prints, how it stops, what it keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sandbox_fixture import ROOT, SandboxOrg, running_sandbox

LEAD = {"LastName": "Doe", "Company": "Acme"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_stops_cleanly_when_told(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sandbox", "--ca-out", str(tmp_path / "ca.pem")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    ready = json.loads(process.stdout.readline())
    assert ready["ready"] is True
    assert len({ready[door] for door in ("http", "https", "grpc", "grpc_tls")}) == 4
    assert (tmp_path / "ca.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")
    process.send_signal(number)
    _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def test_a_port_that_is_taken_is_named(tmp_path: Path, sandbox_org: SandboxOrg) -> None:
    command = [sys.executable, "-m", "sandbox", "--ca-out", str(tmp_path / "ca.pem")]
    for door in ("--http-port", "--grpc-port"):
        taken = str(sandbox_org.http)
        done = subprocess.run(
            [*command, door, taken], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 1
        assert taken in done.stderr
        assert "Traceback" not in done.stderr


def wiped(org: SandboxOrg) -> None:
    """Kills the process without a word."""
    os.kill(org.pid, signal.SIGKILL)


def test_a_kept_org_survives_being_killed(tmp_path: Path) -> None:
    keep = ("--state", str(tmp_path / "org.sqlite"), "--keepalive-s", "0.2")
    with running_sandbox(tmp_path, *keep) as org:
        org.admin("POST", "fields", {"name": "Roof__c", "type": "string", "length": 20})
        first, second = org.create_leads({**LEAD, "Roof__c": "flat"}, LEAD)
        org.rest("DELETE", f"sobjects/Lead/{second}")
        seen = org.events(3)
        org_id, authority = org.org_id, org.ca.read_bytes()
        wiped(org)
    with running_sandbox(tmp_path, *keep) as org:
        assert (org.org_id, org.ca.read_bytes()) == (org_id, authority)
        assert org.rest("GET", f"sobjects/Lead/{first}").json()["Roof__c"] == "flat"
        assert org.rest("GET", f"sobjects/Lead/{second}").status_code == 404
        assert [each.event_id for each in org.events(3)] == [each.event_id for each in seen]
        assert org.events(1, replay_id=seen[1].replay_id)[0].event_id == seen[2].event_id
        (third,) = org.create_leads(LEAD)
        assert third not in {first, second}
        assert org.events(1, replay_id=seen[2].replay_id)[0].header["recordIds"] == [third]


def test_a_bare_org_knows_nothing_of_fairturn(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, "--bare") as org:
        names = {each["name"] for each in org.rest("GET", "sobjects/Lead/describe").json()["fields"]}
        assert not {name for name in names if name.startswith("Fairturn_")}
        refused = org.rest("POST", "sobjects/Lead", json={**LEAD, "Fairturn_Status__c": "x"})
        assert refused.json()[0]["errorCode"] == "INVALID_FIELD"
        described = {"name": "Fairturn_Status__c", "type": "string", "length": 40, "label": "Fairturn Status"}
        org.admin("POST", "fields", described)
        assert org.rest("POST", "sobjects/Lead", json={**LEAD, "Fairturn_Status__c": "x"}).status_code == 201


def test_the_geocode_rule_places_a_lead_a_moment_later(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "options", {"geocode_delay_s": 0.05})
    (lead,) = sandbox_org.create_leads({**LEAD, "PostalCode": "12207", "Country": "US"})
    _, placed = sandbox_org.events(2)
    assert placed.header["recordIds"] == [lead]
    assert placed.header["changeOrigin"] == ""
    assert set(placed.body) == {"Address"}
    assert placed.body["Address"]["Latitude"] == pytest.approx(42.65, abs=0.2)


def test_the_clock_can_be_set_and_marks_what_is_written(sandbox_org: SandboxOrg) -> None:
    sandbox_org.admin("POST", "clock", {"now": "2030-01-02T03:04:05Z"})
    (lead,) = sandbox_org.create_leads(LEAD)
    assert sandbox_org.rest("GET", f"sobjects/Lead/{lead}").json()["CreatedDate"].startswith("2030-01-02T03:04:")
    sandbox_org.admin("POST", "reset")
    assert abs(sandbox_org.admin("GET", "clock")["offset_s"]) < 1
    assert time.time() < 1_893_553_445  # the real clock is not touched

"""`fairturn up` as it runs on one machine, with the pretend Salesforce; only its wires are used to look at it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from simple_salesforce.api import Salesforce

from tests.e2e.test_demo import ROOT, asked, write_csv

START_S, SOON_S = 180, 60
pytestmark = pytest.mark.timeout(START_S + 4 * SOON_S)


@dataclass
class Running:
    """A running house, its org as an ordinary client sees it."""

    process: subprocess.Popen[str]
    directory: Path
    said: str
    org: Any

    def create(self, source_id: str, **fields: object) -> str:
        here: dict[str, object] = {"Latitude": 40.75, "Longitude": -73.99, "Country": "US"}
        lead = {"LastName": source_id, "Company": "Home", "Fairturn_Source_Id__c": source_id, **here, **fields}
        return str(self.org.Lead.create(lead)["id"])

    def lead(self, lead_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.org.Lead.get(lead_id)
        return found

    def children(self, module: str) -> list[psutil.Process]:
        return [p for p in psutil.Process(self.process.pid).children(recursive=True) if module in " ".join(p.cmdline())]


def until(holds: Callable[[], object], within_s: float = SOON_S) -> None:
    """Wait for a condition; what it last saw is told when it never holds."""
    deadline = time.monotonic() + within_s
    while not (seen := holds()):
        assert time.monotonic() < deadline, f"still {seen!r} after {within_s} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("a house")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SALESFORCE_", "DATABASE_URL", "REDIS_URL"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.cli", "up", "--dir", str(directory)],
        cwd=ROOT,
        env=env | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "Flower " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        url = re.findall(r"https://127\.0\.0\.1:\d+", said)[0]
        yield Running(process, directory, said, org_at(url, directory / "sandbox-ca.pem"))
    finally:
        everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        left = [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert left == []


def org_at(url: str, ca: Path) -> Any:
    form = {"grant_type": "client_credentials", "client_id": "a person", "client_secret": "any"}
    answer = requests.post(f"{url}/services/oauth2/token", data=form, verify=str(ca), timeout=10).json()
    session = requests.Session()
    session.mount("https://", _Trusting(str(ca)))
    return Salesforce(instance_url=url, session_id=answer["access_token"], session=session)


class _Trusting(requests.adapters.HTTPAdapter):
    def __init__(self, ca: str) -> None:
        super().__init__()
        self._ca = ca

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # the same keywords
        return super().send(request, **(kwargs | {"verify": self._ca, "timeout": 10}))


@pytest.fixture(scope="module")
def accounts(running: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two members with room for one lead each; their accounts by key."""
    ids = {key: str(running.org.Account.create({"Name": key})["id"]) for key in ("NEAR", "FARTHER")}
    place = {"country": "US", "lon": -73.99, "tier": "gold", "capacity": 1}
    rows = [
        {"partner_id": key, "name": key, "salesforce_id": ids[key], "lat": lat, **place}
        for key, lat in (("NEAR", 40.76), ("FARTHER", 40.90))
    ]
    file = write_csv(tmp_path_factory.mktemp("roster") / "members.csv", rows)
    asked(running.directory, "members", "import", str(file))
    return ids


def test_N14_the_pretend_salesforce_shows_each_lead_and_a_freed_place_goes_to_the_best_that_waits(
    running: Running, accounts: Mapping[str, str]
) -> None:
    first, second = running.create("UP1"), running.create("UP2")
    until(lambda: running.lead(second)["Fairturn_Status__c"] == "offered")
    until(lambda: running.lead(first)["Fairturn_Status__c"] == "offered")
    shown = [running.lead(first), running.lead(second)]
    assert {lead["Fairturn_Partner__c"] for lead in shown} == set(accounts.values())
    assert {lead["Fairturn_Partner_Key__c"] for lead in shown} == {"NEAR", "FARTHER"}
    for lead in shown:
        near = lead["Fairturn_Partner_Key__c"] == "NEAR"
        assert lead["Fairturn_Ring_Miles__c"] == (5 if near else 15)
        assert lead["Fairturn_Distance_Miles__c"] == pytest.approx(0.69 if near else 10.36, abs=0.02)
        assert (lead["Fairturn_Attempt__c"], lead["Fairturn_Policy_Version__c"]) == (1, 1)
        assert lead["Fairturn_Offered_At__c"]
        assert lead["Fairturn_Reason__c"] is None

    older, better = running.create("UP3", Fairturn_Priority__c=1), running.create("UP4", Fairturn_Priority__c=5)
    until(lambda: running.lead(better)["Fairturn_Reason__c"] == "no_room")
    until(lambda: running.lead(older)["Fairturn_Reason__c"] == "no_room")
    running.org.Lead.delete(first)
    until(lambda: running.lead(better)["Fairturn_Status__c"] == "offered")
    assert running.lead(older)["Fairturn_Status__c"] == "waiting"


@pytest.mark.long
def test_I2_a_killed_subscriber_misses_no_event_and_none_counts_twice(
    running: Running, accounts: Mapping[str, str]
) -> None:
    for reader in running.children("workers.subscriber"):
        reader.kill()
    ids = [running.create(f"UP-AWAY-{n}", Latitude=10.0, Longitude=10.0) for n in range(5)]
    until(lambda: all(running.lead(i)["Fairturn_Reason__c"] == "no_partner_in_range" for i in ids))
    versions = [running.lead(i)["Fairturn_Version__c"] for i in ids]
    assert versions == [2] * 5  # new, then waiting: each was decided once


@pytest.mark.long
def test_X5_each_step_of_a_lead_links_to_its_task_in_flower(running: Running, accounts: Mapping[str, str]) -> None:
    lead = running.create("UP-TOLD", Latitude=10.0, Longitude=10.0)
    until(lambda: running.lead(lead)["Fairturn_Reason__c"] == "no_partner_in_range")
    story = json.loads(asked(running.directory, "explain", "UP-TOLD", "--json"))
    tasks = {step["what"]: step["task_id"] for step in story["steps"]}
    [flower] = re.findall(r"Flower +(http://\S+)", running.said)
    [password] = re.findall(r"password (\S+)", running.said)
    assert requests.get(f"{flower}/task/{tasks['waiting']}", timeout=10).status_code == 401
    page = requests.get(f"{flower}/task/{tasks['waiting']}", auth=("operator", password), timeout=10)
    assert page.status_code == 200
    assert re.search(r"leads\.(intake|route)", page.text)


@pytest.mark.long
def test_the_doctor_finds_nothing_to_mend(running: Running) -> None:
    [cfg] = running.children("workers.subscriber")
    env = {
        k: v for k, v in cfg.environ().items() if k.startswith(("SALESFORCE_", "DATABASE_URL", "REDIS_URL", "FAIRTURN"))
    }
    ran = subprocess.run(
        [sys.executable, "-m", "workers.cli", "doctor"],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

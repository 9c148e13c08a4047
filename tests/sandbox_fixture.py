"""A sandbox Salesforce of its own for a test: `sandbox_org`, a real process on free ports."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class SandboxOrg:
    """Where it is, and short ways to speak to it."""

    org_id: str
    http: int
    https: int
    grpc: int
    grpc_tls: int
    ca: Path
    pid: int
    session: requests.Session = field(repr=False)

    @property
    def login_url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def instance_url(self) -> str:
        return f"https://localhost:{self.https}"

    def login(self) -> str:
        """A fresh token of the integration user."""
        form = {"grant_type": "client_credentials", "client_id": "test", "client_secret": "test"}
        answer = self.session.post(f"{self.login_url}/services/oauth2/token", data=form, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def rest(self, method: str, tail: str, *, token: str = "", **options: Any) -> requests.Response:
        """A call below /services/data/v64.0/, as the integration user unless a token is given."""
        headers = {"Authorization": f"Bearer {token or self.token()}", **options.pop("headers", {})}
        url = f"{self.login_url}/services/data/v64.0/{tail}"
        return self.session.request(method, url, headers=headers, timeout=options.pop("timeout", 20), **options)

    def token(self) -> str:
        """The token of this test's own calls, fetched once."""
        cached = self.session.headers.get("X-Own-Token")
        if not cached:
            cached = self.login()
            self.session.headers["X-Own-Token"] = cached
        return str(cached)

    def admin(self, method: str, tail: str, body: Any = None, **params: Any) -> Any:
        """A call to the doors for tests below /sandbox/; its JSON answer."""
        url = f"{self.login_url}/sandbox/{tail}"
        answer = self.session.request(method, url, json=body, params=params, timeout=20)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def fault(self, place: str, kind: str, **order: Any) -> Any:
        """Orders a fault (docs/sandbox.md lists places and kinds)."""
        return self.admin("POST", "faults", {"place": place, "kind": kind, **order})

    def create_leads(self, *leads: dict[str, Any], client: str = "") -> list[str]:
        """Ids of new leads, 200 a call; every one must succeed."""
        headers = {"Sforce-Call-Options": f"client={client}"} if client else {}
        ids: list[str] = []
        for start in range(0, len(leads), 200):
            records = [{"attributes": {"type": "Lead"}, **lead} for lead in leads[start : start + 200]]
            answer = self.rest("POST", "composite/sobjects", json={"records": records}, headers=headers)
            assert answer.status_code == 200, answer.text
            assert all(row["success"] for row in answer.json()), answer.text
            ids.extend(row["id"] for row in answer.json())
        return ids

    def metadata(self, token: str = "") -> tuple[tuple[str, str], ...]:
        """What every RPC must carry."""
        return (
            ("accesstoken", token or self.token()),
            ("instanceurl", self.instance_url),
            ("tenantid", self.org_id),
        )

    @contextmanager
    def pubsub(self) -> Iterator[Any]:
        """A Pub/Sub stub on the plaintext port."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            yield pb_grpc.PubSubStub(channel)  # type: ignore[no-untyped-call]  # generated


@contextmanager
def running_sandbox(folder: Path, *options: str) -> Iterator[SandboxOrg]:
    """A sandbox process with these command line options, stopped at the end."""
    command = [sys.executable, "-m", "sandbox", "--ca-out", str(folder / "ca.pem"), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line, "the sandbox did not start; its own words are above"
        ready = json.loads(line)
        with requests.Session() as session:
            session.trust_env = False
            yield SandboxOrg(
                org_id=ready["org_id"],
                http=ready["http"],
                https=ready["https"],
                grpc=ready["grpc"],
                grpc_tls=ready["grpc_tls"],
                ca=Path(ready["ca"]),
                pid=process.pid,
                session=session,
            )
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxOrg]:
    """One process for the whole session; ask for `sandbox_org` instead."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as org:
        yield org


@pytest.fixture
def sandbox_org(sandbox_process: SandboxOrg) -> SandboxOrg:
    """An empty org with Fairturn's custom fields: no records, events, faults; real time.

    A test that stops the process or wants options of its own starts one with `running_sandbox`.
    """
    sandbox_process.admin("POST", "reset")
    return sandbox_process

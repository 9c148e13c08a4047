"""A sandbox Salesforce of its own for a test: `sandbox_org`, a real process on free ports."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import fastavro
import grpc
import pytest
import requests

from gateways.salesforce.proto import pubsub_api_pb2 as pb
from gateways.salesforce.proto import pubsub_api_pb2_grpc as pb_grpc

ROOT = Path(__file__).resolve().parent.parent


TOPIC = "/data/LeadChangeEvent"


@dataclass(frozen=True)
class Seen:
    """One event as a subscriber got it; `body` without its nulls and its header."""

    header: dict[str, Any]
    body: dict[str, Any]
    event_id: str
    replay_id: bytes
    schema_id: str


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

    def events(self, count: int, *, topic: str = TOPIC, replay_id: bytes = b"") -> list[Seen]:
        """The first `count` events of a topic, or those after a replay id. Waits for them."""
        preset = pb.CUSTOM if replay_id else pb.EARLIEST
        ask = pb.FetchRequest(topic_name=topic, replay_preset=preset, replay_id=replay_id, num_requested=100)
        with self.pubsub() as stub, self.subscribed(stub, ask) as (stream, _more):
            seen: list[Seen] = []
            while len(seen) < count:
                seen.extend(self.decoded(stub, each) for each in next(stream).events)
            return seen[:count]

    def decoded(self, stub: Any, consumed: Any) -> Seen:
        """An event read with the schema that it names."""
        info = stub.GetSchema(pb.SchemaRequest(schema_id=consumed.event.schema_id), metadata=self.metadata())
        schema = fastavro.parse_schema(json.loads(info.schema_json))
        body: Any = fastavro.schemaless_reader(io.BytesIO(consumed.event.payload), schema)
        header = body.pop("ChangeEventHeader")
        told = {name: value for name, value in body.items() if value is not None}
        return Seen(header, told, consumed.event.id, consumed.replay_id, consumed.event.schema_id)

    @contextmanager
    def subscribed(self, stub: Any, *asks: Any, token: str = "") -> Iterator[tuple[Any, Callable[[Any], None]]]:
        """A stream and the way to ask for more; cancelled at the end."""
        queue: SimpleQueue[Any] = SimpleQueue()
        for ask in asks:
            queue.put(ask)
        stream = stub.Subscribe(iter(queue.get, None), metadata=self.metadata(token), timeout=30)
        try:
            yield stream, queue.put
        finally:
            stream.cancel()
            queue.put(None)

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

"""The API as its callers meet it: the whole app in this process, on a house of real servers."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from httpx import Response

from config import desk, settings, wiring
from routing.access import OF_A_MEMBER, Scope
from tests.integration.routing.house import House
from web.main import app as make_app
from workers.embedded_servers import free_port

PLENTY = "1000000"
#: Nothing here is asked over TLS; loading the authorities anew for each client takes longer than most tests.
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
#: Making the app takes a quarter of a second: tests with the same settings share it, but for their servers.
MADE: list[tuple[settings.Settings, FastAPI]] = []


@dataclass
class Api:
    """A house, and callers of its API."""

    house: House
    client: httpx.Client

    def partner(self, key: str, lat: float = 40.0, lon: float = -75.0, **over: Any) -> "Partner":
        """A member of that key with a key of its own to the API."""
        member = self.house.member(key, lat, lon, **over)
        return Partner(self, member, key, self.token(key))

    def token(self, member: str | None, *scopes: Scope) -> str:
        return wiring.api_keys().add("test", scopes=scopes or OF_A_MEMBER, member=member, actor="test")

    def offered(self, record: str = "lead-1", **body: Any) -> str:
        """A new lead, taken in and offered; the offer's id."""
        lead = self.house.lead(record, **body)
        self.house.work()
        return self.offer_of(lead)

    def offer_of(self, lead: int) -> str:
        found = self.house.value("SELECT id FROM offers WHERE lead_id = :lead AND ended_at IS NULL", lead=lead)
        return str(found)


@dataclass
class Partner:
    """One member's program."""

    api: Api
    id: int
    key: str
    token: str

    def ask(self, method: str, path: str, **more: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.api.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def get(self, path: str, **more: Any) -> Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> Response:
        return self.ask("POST", path, **more)


@pytest.fixture
def api(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("FAIRTURN_TURNSTILE_URL", redis_url)
    monkeypatch.setenv("FAIRTURN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FAIRTURN_SECRET", "a-secret-of-tests-with-32-characters")
    monkeypatch.setenv("FAIRTURN_API_TOKEN", "operators-token")
    monkeypatch.setenv("FAIRTURN_API_PER_MINUTE", PLENTY)
    _forget()
    house = House(database_url, redis_url)
    try:
        house.publish()
        with served() as url, httpx.Client(base_url=url, timeout=30, verify=NOBODY) as client:
            yield Api(house, client)
        assert house.breaches() == {}
    finally:
        house.close()
        _forget()


@contextmanager
def served() -> Iterator[str]:
    """The app on a port of its own."""
    port = free_port()
    config = uvicorn.Config(
        the_app(), port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def the_app() -> FastAPI:
    """The app for the settings of now; of what it counted for another test it knows nothing."""
    here = {"database_url": "", "redis_url": "", "broker_url": "", "turnstile_url": "", "data_dir": Path()}
    known = settings.load().model_copy(update=here)
    for of_these, made in MADE:
        if of_these == known:
            made.middleware_stack = None
            return made
    MADE.append((known, make_app()))
    return MADE[-1][1]


def _forget() -> None:
    wiring.forget()
    for built in (v for v in vars(desk).values() if hasattr(v, "cache_clear")):
        built.cache_clear()

"""A ledger with two members, their people and programs, and an app that asks who calls."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI

from config.gatekeeper import Gatekeeper
from config.signing import Signer
from config.tokens import Letter, Tokens
from config.vault import Vault
from routing.access import Principal, Role, Scope
from storage.postgres.api_keys import ApiKeys
from storage.postgres.clients import APP, Clients
from storage.postgres.device_logins import DeviceLogins
from storage.postgres.engine import connect
from storage.postgres.logins import Logins
from storage.postgres.members import MemberRow, Members
from storage.postgres.people import People
from storage.postgres.sessions import Sessions
from storage.postgres.signing_keys import SigningKeys
from web import errors, identity
from web.door import Door
from web.oauth import routes as oauth

SECRET = "only-for-tests-0123456789-0123456789"
ISSUER = "https://leads.example.com"
OPERATOR = "operators-own-token"


@dataclass
class Clock:
    """A clock that goes on when told to."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Town:
    """Two members, an app, and everything that lets people in."""

    engine: sa.Engine
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.people, self.clients, self.keys = People(self.engine), Clients(self.engine), ApiKeys(self.engine)
        self.members = Members(self.engine)
        rows = [MemberRow(key=key, name=key.title(), market="us") for key in ("sunny", "solar")]
        self.members.upsert(rows, actor="test")
        self.sunny, self.solar = (self.members.id_of(key) for key in ("sunny", "solar"))
        self.signer = self.a_signer()
        self.keeper = self.a_keeper()

    def a_signer(self, *, secret: str = SECRET, issuer: str = ISSUER) -> Signer:
        return Signer(
            SigningKeys(self.engine),
            Vault(secret),
            issuer=issuer,
            audience=f"{issuer}/api/v1",
            clock=self.clock,
            monotonic=self.clock,
        )

    def a_keeper(self) -> Gatekeeper:
        return Gatekeeper(
            people=self.people,
            clients=self.clients,
            keys=self.keys,
            members=self.members,
            signer=self.signer,
            clock=self.clock,
        )

    def person(self, email: str, *, member: str | None = "sunny", role: Role = Role.PARTNER) -> UUID:
        return self.people.add(name="Ann", email=email, role=role, member=member, actor="test")

    def token(self, person: UUID, *scopes: str) -> str:
        known = self.people.get(person)
        assert known is not None
        wanted = frozenset(scopes or map(str, Scope))
        return self.signer.issue(
            f"person:{person}", client_id=APP, scopes=wanted, version=known.version, member_id=known.member_id
        )

    def key(self, *scopes: str, member: str | None = "sunny", name: str = "till") -> str:
        return self.keys.add(name, member=member, scopes=scopes, actor="test")


@dataclass(frozen=True)
class Web:
    """An app that is asked without a network."""

    app: FastAPI

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="https://leads.example.com") as http:
                return await http.request(method, path, **more)

        return asyncio.run(once())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("POST", path, **more)


@pytest.fixture
def town(database_url: str) -> Iterator[Town]:
    engine = connect(database_url, pool_size=10)
    yield Town(engine)
    engine.dispose()


@pytest.fixture
def web(town: Town) -> Web:
    """Asks `/offers` (offers:read), `/team` (team:manage) and `/stats` (operate)."""
    app = FastAPI()
    errors.install(app)
    identity.install(app, lambda: town.keeper, operator_token=OPERATOR)
    for path, scope in (("/offers", Scope.OFFERS_READ), ("/team", Scope.TEAM_MANAGE), ("/stats", Scope.OPERATE)):
        app.add_api_route(path, _tells(scope), methods=["GET"])
    app.add_middleware(Door)
    return Web(app)


def _tells(scope: str) -> Callable[..., dict[str, object]]:
    def told(principal: Annotated[Principal, Depends(identity.allow(scope))]) -> dict[str, object]:
        return {"kind": principal.kind, "member": principal.member_id, "role": principal.role, "id": principal.id}

    return told


def bearer(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **more}


@dataclass
class Letterbox:
    """Letters that came, newest last."""

    came: list[tuple[str, UUID, Letter]] = field(default_factory=list)

    def __call__(self, kind: str, person_id: UUID, letter: Letter) -> None:
        self.came.append((kind, person_id, letter))


@pytest.fixture
def letters() -> Letterbox:
    return Letterbox()


@pytest.fixture
def door(town: Town, web: Web, letters: Letterbox) -> Web:
    """The same app with everything about tokens."""
    tokens = Tokens(
        signer=town.signer,
        vault=Vault(SECRET),
        people=town.people,
        clients=town.clients,
        sessions=Sessions(town.engine),
        logins=Logins(town.engine),
        devices=DeviceLogins(town.engine),
        postman=lambda: letters,
    )
    oauth.install(web.app, lambda: tokens, lambda: town.signer, face=ISSUER, api="/api/v1")
    return web

"""Who may ask what, asked of every operation of the API's own document; and the second wall without the first."""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from config import wiring
from config.signing import Signer
from routing.access import OF_A_MEMBER, SCOPES, Role, Scope
from storage.postgres.clients import APP
from storage.postgres.signing_keys import SigningKeys
from storage.postgres.walls import as_member
from tests.integration.web.conftest import Api
from web.access import Operation, operations

#: What the caller may see of its failures to be let in; nothing else.
SHUT = {401, 403, 404}
#: A thing that is gone, or never was, is gone: the answer is the same, and nothing happens.
GONE = {"DELETE /api/v1/hooks/{hook_id}", "DELETE /api/v1/devices/{device_id}"}
STREAMS = {"/api/v1/events"}
WATCHED = ("offers", "leads", "people", "endpoints", "devices", "notices", "members", "timeline", "outbox", "audit")


@dataclass
class Estate:
    """One member with one of everything, its neighbour, and tokens of all kinds."""

    api: Api
    document: Mapping[str, Any]
    sunny: int
    solar: int
    ann: UUID
    bob: UUID
    ids: Mapping[str, list[str]]  # by the name of the parameter

    def person(self, email: str, role: Role, member: int | None) -> UUID:
        return wiring.people().add(name="Somebody", email=email, role=role, member=member, actor="test")

    def token(self, person: UUID, *scopes: str, age_s: float = 0) -> str:
        known = wiring.people().get(person)
        assert known is not None
        face = wiring.signer().issuer
        signer = Signer(
            SigningKeys(wiring.engine()),
            wiring.vault(),
            issuer=face,
            audience=f"{face}/api/v1",
            clock=lambda: time.time() - age_s,
        )
        wanted = frozenset(scopes or map(str, Scope))
        return signer.issue(
            f"person:{person}", client_id=APP, scopes=wanted, version=known.version, member_id=known.member_id
        )

    def operations(self) -> list[Operation]:
        return [one for one in operations(self.document) if one.scopes is not None]

    def ask(self, one: Operation, token: str | None, path: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = self.api.client.build_request(
            one.method, path or one.path, headers=headers, json=self.body(one), timeout=30
        )
        answer = self.api.client.send(request, stream=True)
        if answer.status_code != 200 or one.path not in STREAMS:
            answer.read()
        answer.close()
        return answer

    def body(self, one: Operation) -> Any:
        """A good body by the document's own examples."""
        operation = self.document["paths"][one.path][one.method.lower()]
        wanted = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        name = wanted.get("$ref", "").rpartition("/")[2]
        schema = self.document["components"]["schemas"].get(name, {})
        examples = schema.get("examples", [])
        return examples[0] if examples else (BODIES[name] if name else None)

    def paths(self, one: Operation) -> Iterator[str]:
        """The operation's addresses with every id that is this member's."""
        (parameter,) = re.findall(r"\{(\w+)\}", one.path)
        for known in self.ids[parameter]:
            yield one.path.replace(f"{{{parameter}}}", known)

    def ledger(self) -> list[Any]:
        """All that could have been changed, in short."""
        of_one = "SELECT '{0}', md5(string_agg(x::text, '' ORDER BY x::text)) FROM {0} x"
        rows = " UNION ALL ".join(of_one.format(table) for table in WATCHED)
        with wiring.engine().connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(rows))]


#: Where the document has no example.
BODIES: dict[str, Any] = {
    "DeviceWish": {"subscription": {"endpoint": "https://push.example/x", "keys": {"p256dh": "x", "auth": "x"}}},
}


@pytest.fixture
def estate(api: Api) -> Estate:
    sunny = api.partner("sunny").id
    offered = api.offered("lead-1")
    accepted = api.offered("lead-2")
    solar = api.partner("solar", lat=-40.0).id
    people = wiring.people()
    ann, cy, bob = (
        people.add(name="Zoe Marker", email=f"{name}@example.com", role=Role.PARTNER_ADMIN, member=member, actor="test")
        for name, member in (("ann", sunny), ("cy", sunny), ("bob", solar))
    )
    document = api.client.get("/api/v1/openapi.json").json()
    hook = wiring.endpoints().add(sunny, "https://hooks.example.com/x", "whsec_" + "a" * 32, actor="test")
    subscription = {"endpoint": "https://push.example.com/x", "keys": {"p256dh": "x", "auth": "x"}}
    device = wiring.devices().add(sunny, ann, subscription, label="phone")
    ids = {
        "offer_id": [offered, accepted],
        "person_id": [str(cy)],
        "hook_id": [str(hook.id)],
        "device_id": [str(device.id)],
        "ref": ["lead-1"],
        "pool": ["installers"],
        "version": ["1"],
    }
    found = Estate(api, document, sunny, solar, ann, bob, ids)
    assert api.client.post(
        f"/api/v1/offers/{accepted}/accept", headers={"Authorization": f"Bearer {found.token(ann)}"}
    ).is_success
    return found


def told(answer: httpx.Response) -> tuple[int, Any]:
    """Status and body, less what names the request."""
    body = answer.json() if answer.content else None
    return answer.status_code, {k: v for k, v in body.items() if k != "request_id"} if isinstance(body, dict) else body


def wrong_identities(estate: Estate, one: Operation) -> dict[str, str | None]:
    assert one.scopes is not None
    gone = estate.person("gone@example.com", Role.PARTNER_ADMIN, estate.sunny)
    of_gone = estate.token(gone)
    wiring.people().set_active(gone, active=False, actor="test")
    other = min(set(map(str, OF_A_MEMBER)) - one.scopes)
    return {
        "another partner": estate.token(estate.bob),
        "nobody": None,
        "an old token": estate.token(estate.ann, age_s=3600),
        "somebody shut out": of_gone,
        "another scope": estate.token(estate.ann, other),
    }


def intruders(estate: Estate) -> list[str]:
    """Ask every operation with an id as everybody who may not; what was let in, told more, or changed anything."""
    wrong = []
    for one in [each for each in estate.operations() if each.id_in_path]:
        who = wrong_identities(estate, one)
        before = estate.ledger()
        nowhere = re.sub(r"\{\w+\}", str(uuid4()), one.path)
        unknown = {identity: told(estate.ask(one, token, nowhere)) for identity, token in who.items()}
        for path in estate.paths(one):
            for identity, token in who.items():
                here, there = told(estate.ask(one, token, path)), unknown[identity]
                shut = here[0] in SHUT or (here[0] == 204 and f"{one.method} {one.path}" in GONE)
                if not shut or here != there:
                    wrong.append(f"{one.method} {path} as {identity}: {here} but for an unknown id {there}")
        if estate.ledger() != before:
            wrong.append(f"{one.method} {one.path} changed something")
    return wrong


@contextmanager
def without_the_first_wall(engine: sa.Engine) -> Iterator[Callable[[], int]]:
    """No statement tells members apart by itself any more; gives how many statements lost their filter."""
    lost = 0

    def blind(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> tuple[str, Any]:
        nonlocal lost
        if statement.lstrip().upper().startswith("INSERT"):
            return statement, parameters
        changed, times = re.subn(r"(?<![\w.])(\w+\.)?member_id = (%\(\w+\)s(::\w+)?)", r"(\2 IS NOT NULL)", statement)
        lost += times
        return changed, parameters

    sa.event.listen(engine, "before_cursor_execute", blind, retval=True)
    try:
        yield lambda: lost
    finally:
        sa.event.remove(engine, "before_cursor_execute", blind)


def test_Z3_nothing_of_a_member_is_shown_or_changed_to_anybody_else(estate: Estate) -> None:
    assert intruders(estate) == []


def test_Z3_the_second_wall_holds_alone(estate: Estate) -> None:
    with without_the_first_wall(wiring.engine()) as lost:
        assert intruders(estate) == []
        assert lost() > 20, "the first wall was down"
        bob = {"Authorization": f"Bearer {estate.token(estate.bob)}"}
        for path in ("/offers", "/offers?since=0", "/open-leads", "/hooks", "/devices"):
            found = estate.api.client.get(f"/api/v1{path}", headers=bob)
            assert found.is_success, path
            assert not any(known in found.text for some in estate.ids.values() for known in some), path
        assert [one["email"] for one in estate.api.client.get("/api/v1/me/team", headers=bob).json()["people"]] == [
            "bob@example.com"
        ]


def test_the_owner_is_let_in_everywhere_so_that_the_others_were_kept_out_by_who_they_are(estate: Estate) -> None:
    token = estate.token(estate.ann)
    kept_out = []
    mine = [one for one in estate.operations() if one.id_in_path and one.opens_for(Role.PARTNER_ADMIN)]
    for one in sorted(mine, key=lambda each: each.method == "DELETE"):
        answer = estate.ask(one, token, next(estate.paths(one)))
        if answer.status_code in {401, 403} or (answer.status_code == 404 and "open-leads" not in one.path):
            kept_out.append((one.method, one.path, answer.status_code, answer.text))
    assert kept_out == []


def test_Z1_each_role_hears_at_each_operation_what_the_published_matrix_says(estate: Estate) -> None:
    people = {
        role: estate.token(
            estate.person(f"{role}@example.com", role, estate.sunny if SCOPES[role] & OF_A_MEMBER else None)
        )
        for role in Role
    }
    wrong = []
    for one in sorted(estate.operations(), key=lambda each: each.method in {"DELETE", "PATCH"}):
        path = next(estate.paths(one)) if one.id_in_path else one.path
        for role, token in people.items():
            status = estate.ask(one, token, path).status_code
            if (status == 403) == one.opens_for(role) or status in {401, 500}:
                wrong.append(f"{one.method} {one.path} as {role}: {status}")
        nothing = estate.api.token("sunny", *(set(Scope) - {Scope(s) for s in one.scopes or ()}))
        if (status := estate.ask(one, nothing, path).status_code) != 403:
            wrong.append(f"{one.method} {one.path} as a program without the scope: {status}")
        wiring.api_keys().revoke(nothing.split("_")[1], actor="test")
    assert wrong == []


def test_what_anybody_may_ask_is_known_by_name(estate: Estate) -> None:
    open_to_all = {f"{one.method} {one.path}" for one in operations(estate.document) if one.scopes is None}
    assert open_to_all == {
        "GET /healthz",
        "GET /readyz",
        "GET /api/v1/invariants",
        "POST /oauth/token",
        "POST /oauth/device_authorization",
        "POST /oauth/revoke",
        "GET /.well-known/jwks.json",
        "GET /.well-known/oauth-authorization-server",
        "POST /api/v1/login",
        "POST /api/v1/login/verify",
        "GET /api/v1/policy/schema.json",
    }


def test_Z3_ten_thousand_guessed_ids_find_nothing_of_another_member(estate: Estate) -> None:
    dice = random.Random(4)
    real = [UUID(known) for known in estate.ids["offer_id"]]
    near = [UUID(int=one.int ^ (1 << bit)) for one in real for bit in range(128)]
    beside = [UUID(int=one.int + step) for one in real for step in range(1, 2000)]
    guesses = [*real, *near, *beside]
    guesses += [UUID(int=dice.getrandbits(128)) for _ in range(10_000 - len(guesses))]
    with as_member(wiring.engine(), estate.solar) as connection:
        seen = connection.execute(sa.text("SELECT count(*) FROM offers WHERE id = ANY(:ids)"), {"ids": guesses})
        assert seen.scalar_one() == 0
        leads = "SELECT count(*) FROM leads WHERE id = ANY(:ids)"
        assert connection.execute(sa.text(leads), {"ids": list(range(10_000))}).scalar_one() == 0
    bob = {"Authorization": f"Bearer {estate.token(estate.bob)}"}
    tried = [*real, *dice.sample(guesses, 300)]
    answers = {told(estate.api.client.get(f"/api/v1/offers/{one}", headers=bob))[0] for one in tried}
    assert answers == {404}
    ann = {"Authorization": f"Bearer {estate.token(estate.ann)}"}
    assert estate.api.client.get(f"/api/v1/offers/{real[0]}", headers=ann).is_success

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import Depends, FastAPI

from config.gatekeeper import Gatekeeper
from routing.access import Scope
from routing.errors import BadInput, GiveUp, LedgerUnreachable, Refused
from storage.postgres.api_keys import ApiKeys
from storage.postgres.clients import Clients
from storage.postgres.engine import connect
from storage.postgres.members import Members
from storage.postgres.people import People
from web import errors, identity
from web.door import HEADERS, Door

TROUBLES: dict[str, Exception] = {
    "refused": Refused("somebody was faster"),
    "bad": BadInput("is no number", field="limit", fix="Give one."),
    "later": LedgerUnreachable(),
    "gone": errors.NotFound("no lead is named so"),
    "never": GiveUp("the policy is missing"),
    "mistake": KeyError("zoe.marker@example.org"),
}


def a_keeper() -> Gatekeeper:
    """Knows nobody, and has nobody to ask."""
    engine = connect("postgresql+psycopg://nobody@127.0.0.1:1/none")
    return Gatekeeper(
        people=People(engine), clients=Clients(engine), keys=ApiKeys(engine), members=Members(engine), signer=None
    )


def an_app(token: str = "") -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    errors.install(app)
    identity.install(app, a_keeper, operator_token=token)

    @app.get("/fails/{how}")
    def fails(how: str) -> None:
        raise TROUBLES[how]

    @app.get("/number/{number}")
    def number(number: int) -> int:
        return number

    @app.get("/secret", dependencies=[Depends(identity.allow(Scope.OPERATE))])
    def secret() -> str:
        return "told"

    app.add_middleware(Door)
    return app


def ask(path: str, *, token: str = "", client: str = "127.0.0.1", method: str = "GET", **more: Any) -> httpx.Response:
    """One request, as if from that address, without a network."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(an_app(token), client=(client, 50000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
            return await http.request(method, path, **more)

    return asyncio.run(once())


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("refused", 409, "refused"),
        ("bad", 422, "bad-input"),
        ("later", 503, "ledger-unreachable"),
        ("gone", 404, "not-found"),
        ("never", 500, "give-up"),
    ],
)
def test_every_foreseen_error_is_a_problem_with_its_status_and_kind(how: str, status: int, kind: str) -> None:
    answer = ask(f"/fails/{how}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["type"]) == (status, f"urn:fairturn:problem:{kind}")
    assert body["detail"] == str(TROUBLES[how])
    assert body["request_id"] == answer.headers["x-request-id"]


def test_bad_input_names_the_field_and_the_fix() -> None:
    body = ask("/fails/bad").json()
    assert (body["field"], body["fix"]) == ("limit", "Give one.")


def test_an_unwell_neighbour_says_when_to_come_back() -> None:
    assert ask("/fails/later").headers["retry-after"] == "2"


def test_a_mistake_of_ours_is_told_to_the_log_and_not_to_the_caller(lines: list[Any]) -> None:
    answer = ask("/fails/mistake")
    assert answer.status_code == 500
    assert "marker" not in answer.text
    assert "KeyError" not in answer.text
    (told,) = [line for line in lines if line["event"] == "http.failed"]
    assert told["failure"][0]["type"] == "builtins.KeyError"


def test_input_that_does_not_fit_is_named_and_not_repeated() -> None:
    answer = ask("/number/zoe.marker")
    assert answer.status_code == 422
    assert answer.json()["field"] == "path.number"
    assert "marker" not in answer.text


def test_what_is_not_there_and_what_is_not_allowed_are_problems_too() -> None:
    lost, wrong = ask("/nowhere"), ask("/secret", method="DELETE")
    assert (lost.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "GET"
    assert {a.headers["content-type"] for a in (lost, wrong)} == {"application/problem+json"}


@pytest.mark.parametrize("path", ["/number/1", "/nowhere", "/fails/mistake", "/fails/later", "/secret", "/number/x"])
def test_protecting_headers_are_on_every_answer(path: str) -> None:
    answer = ask(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_id_is_taken_over_only_when_it_is_harmless() -> None:
    assert ask("/number/1", headers={"X-Request-ID": "abcd-1234"}).headers["x-request-id"] == "abcd-1234"
    assert ask("/number/1", headers={"X-Request-ID": "a\tlevel=error"}).headers["x-request-id"] != "a\tlevel=error"


def test_one_line_a_request_with_the_route_and_never_the_path(lines: list[Any]) -> None:
    ask("/number/42?email=zoe.marker@example.org")
    (line,) = [line for line in lines if line["event"] == "http.done"]
    assert (line["route"], line["method"], line["status"]) == ("/number/{number}", "GET", 200)
    assert "marker" not in str(line)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic dG9rZW4=", "Bearer t0ken2", "t0ken"])
def test_with_a_token_set_nobody_passes_without_it_not_even_from_here(given: str) -> None:
    answer = ask("/secret", token="t0ken", headers={"Authorization": given} if given else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_token_lets_in_from_anywhere() -> None:
    answer = ask("/secret", token="t0ken", client="203.0.113.9", headers={"Authorization": "bearer t0ken"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("203.0.113.9", 403), ("x", 403)])
def test_without_a_token_only_this_machine_is_let_in(client: str, status: int) -> None:
    assert ask("/secret", client=client).status_code == status


def test_a_page_elsewhere_that_had_our_address_renamed_is_not_let_in() -> None:
    assert ask("/secret", headers={"Host": "rebound.example"}).status_code == 403
    assert ask("/secret", headers={"Host": "127.0.0.1:8000"}).status_code == 200

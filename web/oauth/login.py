"""Logging in without a password: a code of eight digits, or a link, by mail."""

from collections.abc import Callable
from typing import Any, Self
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator

from config import logs
from config.tokens import Tokens
from routing.access import LoginRefused
from routing.errors import BadInput, FairturnError
from storage.postgres.clients import APP, Client
from storage.postgres.logins import LIVES_S
from storage.postgres.people import Person
from web.oauth.form import answer, given, problems, seldom
from web.oauth.token import Token

log = structlog.get_logger()


class Wish(BaseModel):
    """Who wants to log in."""

    model_config = ConfigDict(extra="forbid")
    email: str = Field(min_length=3, max_length=254, description="The address your programme knows you by.")


class Begun(BaseModel):
    """A login is under way, if the address is known here."""

    login: UUID = Field(description="Names this login; send it with the code.")
    expires_in: int = Field(description="Seconds in which the code is good.")


class Proof(BaseModel):
    """What came by mail: the code with its login, or the token of the link alone."""

    model_config = ConfigDict(extra="forbid")
    login: UUID | None = Field(None, description="As /login answered.")
    code: str | None = Field(None, max_length=20, description="Eight digits; blanks do not matter.")
    link: str | None = Field(None, max_length=100, description="What follows `#login=` in the link.")
    client_id: str = Field(APP, max_length=100, description="The app that asks, if it has a name of its own.")

    @model_validator(mode="after")
    def one_of_both(self) -> Self:
        """A code and its login, or a link."""
        if (self.login is None, self.code is None, self.link is None) not in {
            (False, False, True),
            (True, True, False),
        }:
            raise ValueError("give login and code, or link")
        return self


def routes(tokens: Callable[[], Tokens | None]) -> APIRouter:
    """`/login` and `/login/verify`."""
    router = APIRouter(tags=["tokens"], dependencies=[Depends(seldom())])

    @router.post(
        "/login",
        summary="Ask for a code by mail",
        operation_id="beginLogin",
        status_code=202,
        response_model=Begun,
        responses=problems(404, 413, 415, 422, 429, 500, 503),
    )
    def begin(wish: Wish, later: BackgroundTasks) -> dict[str, Any]:
        """Answers the same whether the address is known or not; a known one gets a code and a link, good once."""
        giver, login = given(tokens), uuid4()
        person = giver.wanted(wish.email)
        if person is not None:
            later.add_task(send, giver, login, person)
        return {"login": login, "expires_in": LIVES_S}

    @router.post(
        "/login/verify",
        summary="Log in with the code, or the link's token",
        operation_id="finishLogin",
        response_model=Token,
        response_model_exclude_none=True,
        responses=problems(401, 404, 413, 415, 422, 429, 500, 503),
    )
    def verify(proof: Proof) -> dict[str, Any]:
        """Gives tokens. A code is good for ten minutes, once, and for five tries."""
        giver = given(tokens)
        return answer(giver.for_person(proven(giver, proof), _public(giver, proof.client_id)))

    return router


def send(giver: Tokens, login: UUID, person: Person) -> None:
    """Send the code, after the answer went out: how long that takes tells nobody that the address is known."""
    try:
        if not giver.send_code(login, person):
            log.warning("login.not_sent", person=str(person.id), because="too many codes within an hour")
    except FairturnError as exc:
        log.warning("login.not_sent", person=str(person.id), failure=logs.tell(exc))


def proven(giver: Tokens, proof: Proof) -> Person:
    """Who logs in. Raises LoginRefused."""
    if proof.link is not None:
        return giver.by_link(proof.link)
    if proof.login is None or proof.code is None:
        raise LoginRefused
    return giver.by_code(proof.login, digits(proof.code))


def digits(code: str) -> str:
    """The code as we sent it, however it was typed."""
    return "".join(code.split()).replace("-", "")


def _public(giver: Tokens, client_id: str) -> Client:
    client = giver.client(client_id, None)
    if client is None:
        raise BadInput(
            "there is no such app", field="client_id", fix="Leave it out, or name a client without a secret."
        )
    return client

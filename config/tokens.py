"""How people and programs get tokens: by a code or a link in their mail, a device, a refresh token, or a secret."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

from config.signing import LIVES_S, Signer
from config.vault import Vault
from routing.access import SCOPES, LoginRefused, granted
from routing.errors import Refused
from storage.postgres.api_keys import hashed
from storage.postgres.clients import Client, Clients
from storage.postgres.device_logins import INTERVAL_S, Asking, DeviceLogins, LetIn, Waiting
from storage.postgres.device_logins import LIVES_S as DEVICE_LIVES_S
from storage.postgres.logins import Logins
from storage.postgres.people import People, Person
from storage.postgres.sessions import Sessions

#: What a person types from one screen into another: no vowels, so no words; nothing that looks alike.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_PURPOSE = "login code"


@dataclass(frozen=True, slots=True)
class Letter:
    """What a person is sent to log in with: eight digits to type, or a token that a link carries."""

    code: str
    link: str


class Postman(Protocol):
    """Brings a letter to a person, by mail; says nothing of who it is."""

    def __call__(self, kind: str, person_id: UUID, letter: Letter) -> None: ...


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token, and where the login lasts the token for the next one."""

    access_token: str
    scopes: frozenset[str]
    refresh_token: str | None = None
    expires_in: int = LIVES_S


@dataclass(frozen=True, slots=True)
class Device:
    """What a device without a keyboard shows, and what it asks with."""

    device_code: str
    user_code: str
    interval_s: int = INTERVAL_S
    expires_in: int = DEVICE_LIVES_S


class Tokens:
    """Gives tokens to those who have shown who they are."""

    def __init__(
        self,
        *,
        signer: Signer,
        vault: Vault,
        people: People,
        clients: Clients,
        sessions: Sessions,
        logins: Logins,
        devices: DeviceLogins,
        postman: Callable[[], Postman],
    ) -> None:
        self._signer, self._vault = signer, vault
        self._people, self._clients = people, clients
        self._sessions, self._logins, self._devices = sessions, logins, devices
        self._postman = postman

    def client(self, client_id: str, secret: str | None) -> Client | None:
        """The client with this id, if it may come in: with its secret, or, when it can keep none, without one."""
        client = self._clients.get(client_id)
        kept = client.secret_hash if client else bytes(32)
        good = kept is None and not secret
        if kept is not None:
            good = hmac.compare_digest(hashed(secret or ""), kept)
        return client if client is not None and good and client.active else None

    def for_program(self, client: Client, asked: frozenset[str]) -> Issued:
        """A token for the program itself."""
        scopes = granted(asked, client.scopes)
        token = self._signer.issue(
            f"client:{client.id}",
            client_id=client.id,
            scopes=scopes,
            version=client.version,
            member_id=client.member_id,
        )
        return Issued(token, scopes)

    def once(self, person: Person, client: Client, asked: frozenset[str] = frozenset()) -> Issued:
        """An access token alone: there is no login that lasts."""
        return self._issue(person, client, granted(asked, client.scopes) & _allowed(person), None)

    def for_person(self, person: Person, client: Client, asked: frozenset[str] = frozenset()) -> Issued:
        """Tokens of a new login: no more than the person's role and the client both allow."""
        scopes = granted(asked, client.scopes) & _allowed(person)
        return self._issue(person, client, scopes, self._sessions.begin(person.id, client_id=client.id, scopes=scopes))

    def renew(self, refresh_token: str, client: Client, asked: frozenset[str] = frozenset()) -> Issued | None:
        """The next tokens of a login; None when it is over."""
        renewed = self._sessions.renew(refresh_token, client_id=client.id)
        person = self._people.get(renewed.person_id) if renewed else None
        if renewed is None or person is None or not person.active:
            return None
        scopes = granted(asked, renewed.scopes) & _allowed(person)
        return self._issue(person, client, scopes, renewed.token)

    def end(self, refresh_token: str, client: Client) -> None:
        """The login is over; its access tokens live on for ten minutes at most."""
        self._sessions.end(refresh_token, client_id=client.id)

    def wanted(self, email: str) -> Person | None:
        """Who may log in with this address."""
        person = self._people.by_email(email)
        return person if person is not None and person.active else None

    def send_code(self, login: UUID, person: Person) -> bool:
        """Send a code and a link; False when too many were sent of late."""
        code, link = f"{secrets.randbelow(10**8):08}", secrets.token_urlsafe(32)
        kept = self._logins.begin(login, person.id, code_hash=self._code(login, code), link_hash=hashed(link))
        if kept:
            self._postman()("login", person.id, Letter(code, link))
        return kept

    def link_for(self, person: Person) -> str:
        """A link's token, good once and for ten minutes, for whoever may let this person in without a mail."""
        link = secrets.token_urlsafe(32)
        login = uuid4()
        if not self._logins.begin(login, person.id, code_hash=bytes(32), link_hash=hashed(link)):
            raise Refused("Too many codes and links were made for this person within an hour.")
        return link

    def by_code(self, login: UUID, code: str) -> Person:
        """Who typed the code they were sent. Raises LoginRefused."""
        return self._known(self._logins.by_code(login, self._code(login, code)))

    def by_link(self, link: str) -> Person:
        """Who followed the link they were sent. Raises LoginRefused."""
        return self._known(self._logins.by_link(hashed(link)))

    def device(self, client: Client, asked: frozenset[str]) -> Device:
        """A device begins to wait."""
        device_code = secrets.token_urlsafe(32)
        shown = "".join(secrets.choice(_LETTERS) for _ in range(8))
        self._devices.begin(hashed(device_code), shown, client_id=client.id, scopes=granted(asked, client.scopes))
        return Device(device_code, f"{shown[:4]}-{shown[4:]}")

    def device_asking(self, user_code: str) -> Asking | None:
        """Which device shows this code, however the person wrote it."""
        return self._devices.asking(_plain(user_code))

    def answer_device(self, user_code: str, person: Person, *, let_in: bool) -> bool:
        """Let the device in as this person, or send it away; False when it waits no more."""
        return self._devices.answer(_plain(user_code), person.id, let_in=let_in)

    def poll_device(self, device_code: str, client: Client) -> Issued | Waiting:
        """Tokens for the device, once the person has let it in."""
        heard = self._devices.poll(hashed(device_code), client_id=client.id)
        if not isinstance(heard, LetIn):
            return heard
        person = self._people.get(heard.person_id)
        if person is None or not person.active:
            return Waiting.DENIED
        return self.for_person(person, client, heard.scopes)

    def _issue(self, person: Person, client: Client, scopes: frozenset[str], refresh: str | None) -> Issued:
        token = self._signer.issue(
            f"person:{person.id}",
            client_id=client.id,
            scopes=scopes,
            version=person.version,
            member_id=person.member_id,
        )
        return Issued(token, scopes, refresh)

    def _known(self, found: UUID | None) -> Person:
        person = self._people.get(found) if found else None
        if person is None or not person.active:
            raise LoginRefused
        return person

    def _code(self, login: UUID, code: str) -> bytes:
        return self._vault.sign(_PURPOSE, f"{login} {code}")


def _allowed(person: Person) -> frozenset[str]:
    return frozenset(map(str, SCOPES[person.role]))


def _plain(user_code: str) -> str:
    return "".join(letter for letter in user_code.upper() if letter in _LETTERS)

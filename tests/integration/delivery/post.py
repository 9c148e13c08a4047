"""A house that tells its members: real ledger, real sockets, real mail server; nothing waits for real time."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import http_ece
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

from config.links import Links
from config.mailroom import Mailroom
from config.vault import Vault
from gateways.notify import push, webhook
from gateways.notify.caller import Caller
from gateways.notify.messenger import Messenger
from routing.access import Role
from routing.answering import Desk
from routing.courier import Courier
from routing.delivery import Channel, Manners
from routing.lane import Lane
from storage.postgres.answers import Answers
from storage.postgres.deliveries import Deliveries
from storage.postgres.devices import Devices
from storage.postgres.endpoints import Endpoint, Endpoints
from storage.postgres.links_used import LinksUsed
from storage.postgres.people import People
from tests.fakes.receiver import Call
from tests.integration.routing.house import House

FACE = "https://leads.example.com"
SECRET = "a-secret-of-tests-with-32-characters"


@dataclass
class Post:
    """Deliveries around a house of routing."""

    house: House
    templates: dict[str, str] = field(default_factory=dict)
    fallback: timedelta = timedelta(minutes=5)
    hot_breaks_quiet: bool = False
    total_s: float = 15.0
    ends: list[tuple[str, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        engine = self.house.engine
        self.vault = Vault(SECRET)
        self.endpoints, self.devices = Endpoints(engine, self.vault), Devices(engine, self.vault)
        self.people, self.links, self.used = People(engine), Links(self.vault, FACE), LinksUsed(engine)
        channels = frozenset({Channel.PUSH, *(Channel(name) for name in self.templates)})
        manners = Manners(self.fallback, self.hot_breaks_quiet, channels)
        self.deliveries = Deliveries(engine, self.vault, manners=manners, dice=lambda: 0.0)
        self.desk = Desk(Answers(engine, self._answering), self._announce, lambda _task: None)
        self.courier = self.another()

    def another(self) -> Courier:
        """One more courier, as another process has it."""
        room = Mailroom(
            vault=self.vault,
            caller=Caller(loopback=True, total_s=self.total_s),
            messenger=Messenger(self.templates),
            sender=lambda: push.Sender.load(self.devices.push_key(push.new_key), "mailto:post@example.com"),
            links=self.links,
            face=FACE,
            shown=lambda pool: self._answering()[pool].shown,
            agent="Fairturn/test",
        )
        return Courier(
            book=self.deliveries,
            bring=room.bring,
            told=lambda channel, state: self.ends.append((channel, state)),
            report=self.errors.append,
        )

    def work(self) -> None:
        """Bring all that is due, and wait for it."""
        self.courier.work()
        assert self.courier.rest(30)

    def close(self) -> None:
        self.courier.rest(5)
        self.courier.close()

    # --- who there is

    def person(self, member: int, name: str = "anna", **over: Any) -> UUID:
        return self.people.add(
            name=name, email=f"{name}@example.com", role=Role.PARTNER, member=member, actor="test", **over
        )

    def hook(self, member: int, url: str) -> tuple[Endpoint, str]:
        secret = webhook.new_secret()
        return self.endpoints.add(member, url, secret, actor="test"), secret

    def offer(self, record: str = "00Q1") -> UUID:
        """A lead in Springfield, offered."""
        lead = self.house.lead(record, city="Springfield", attributes={"product": "Roof"})
        self.house.work()
        found: UUID = self.house.value("SELECT id FROM offers WHERE lead_id = :lead AND state = 'offered'", lead=lead)
        return found

    # --- what the ledger says

    def later(self, **by: float) -> None:
        """Let everything about deliveries have happened so much earlier."""
        past = timedelta(**by)
        self.house.run(
            "UPDATE deliveries SET due_at = due_at - :past, created_at = created_at - :past,"
            " lease_until = lease_until - :past",
            past=past,
        )
        self.house.run("UPDATE endpoints SET rests_until = rests_until - :past", past=past)

    def states(self, channel: str = "%") -> list[tuple[str, str, str | None]]:
        rows = self.house.rows(
            "SELECT channel, state, why FROM deliveries WHERE channel LIKE :channel ORDER BY number, step, id",
            channel=channel,
        )
        return [(row.channel, row.state, row.why) for row in rows]

    def told(self) -> list[dict[str, Any]]:
        """What the timeline says about deliveries."""
        return [row.detail for row in self.house.rows("SELECT detail FROM timeline WHERE what = 'told' ORDER BY id")]

    def _answering(self) -> dict[str, Any]:
        return {pool.name: pool.answering for pool in self.house.ledger.published().pools}

    def _announce(self, task: str, ids: Any, lane: Lane = Lane.LIVE, /) -> None:
        self.house._announce(task, ids, lane)


class Browser:
    """A browser's side of web push."""

    def __init__(self, url: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = b"0123456789abcdef"
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = push.Subscription(url, public, self._auth)

    def read(self, call: Call) -> dict[str, Any]:
        """What was pushed, as the page's worker gets it."""
        plain = http_ece.decrypt(call.body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        found: dict[str, Any] = orjson.loads(plain)
        return found


def verified(secret: str, call: Call) -> dict[str, Any]:
    """What a webhook says, by the reference library; raises when it was not signed with the secret."""
    found: dict[str, Any] = Webhook(secret).verify(call.body, call.headers)
    return found


def proof(call: Call) -> tuple[str, bytes]:
    """The token and the public key of a push's Authorization header."""
    token, _, key = call.headers["authorization"].removeprefix("vapid t=").partition(", k=")
    return token, base64.urlsafe_b64decode(f"{key}===")


Maker = Callable[..., Post]

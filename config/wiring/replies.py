"""Answers of members, and what members are told."""

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from config import logs, metrics, settings, version
from config.links import Links
from config.tokens import Letter, Postman
from routing.answering import Desk
from routing.courier import Courier
from routing.delivery import Channel, Manners
from routing.errors import GiveUp
from routing.journey import Announce
from storage.postgres.answers import Answers
from storage.postgres.deliveries import Deliveries
from storage.postgres.devices import Devices
from storage.postgres.endpoints import Endpoints
from storage.postgres.links_used import LinksUsed

if TYPE_CHECKING:
    from gateways.notify import push
from config import wiring
from config.wiring import Nudge

log = structlog.get_logger()

#: A letter of the house is of no use after that: so long a login code works.
LETTER_LIVES_S = 600.0


@cache
def answers() -> Answers:
    return Answers(wiring.engine(), wiring.answering_now)


@cache
def desk(announce: Announce, nudge: Nudge) -> Desk:
    """Takes answers to offers; the caller brings the way to tell workers."""
    return Desk(answers(), announce, wiring.members_too(nudge))


def postman() -> Postman:
    """Brings letters to people, by the courier. Raises GiveUp where no way is set."""
    if not any(pair.startswith("email=") for pair in settings.load().notify_urls):
        raise GiveUp("No way to send mail is set: FAIRTURN_NOTIFY_URLS has no email.")
    return post_letter


def post_letter(kind: str, person_id: UUID, letter: Letter) -> None:
    """Put a letter among the deliveries; the relay has it brought within a second."""
    facts = {"code": letter.code, "link": f"{settings.load().face()}/app/#login={letter.link}"}
    deliveries().post_letter(person_id, kind, facts, lives_s=LETTER_LIVES_S)


@cache
def endpoints() -> Endpoints:
    """Webhooks of members. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Endpoints(wiring.engine(), wiring.vault())


@cache
def devices() -> Devices:
    """Where people take web push. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Devices(wiring.engine(), wiring.vault())


@cache
def deliveries() -> Deliveries:
    """What members are told. Raises BadInput when FAIRTURN_SECRET is not set."""
    cfg = settings.load()
    named = [channel for channel in Channel if any(pair.startswith(f"{channel}=") for pair in cfg.notify_urls)]
    manners = Manners(
        fallback=timedelta(seconds=cfg.notify_fallback_s),
        hot_breaks_quiet=cfg.notify_hot_in_quiet_hours,
        channels=frozenset({Channel.PUSH, *named}),
    )
    return Deliveries(wiring.engine(), wiring.vault(), manners=manners)


@cache
def links() -> Links:
    """One-tap links. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Links(wiring.vault(), settings.load().face())


@cache
def links_used() -> LinksUsed:
    return LinksUsed(wiring.engine())


def tells() -> bool:
    """Whether members are told anything: what that needs is sealed under FAIRTURN_SECRET."""
    return bool(settings.load().secret.get_secret_value())


@cache
def courier() -> Courier | None:
    """Takes deliveries out; None where no secret is set."""
    if not tells():
        return None
    from config.mailroom import Mailroom  # noqa: PLC0415 - what calls and speaks takes long to load
    from gateways.notify.caller import Caller  # noqa: PLC0415
    from gateways.notify.messenger import Messenger, templates  # noqa: PLC0415

    cfg = settings.load()
    room = Mailroom(
        vault=wiring.vault(),
        caller=Caller(loopback=cfg.notify_loopback),
        messenger=Messenger(templates(cfg.notify_urls)),
        sender=push_sender,
        links=links(),
        face=cfg.face(),
        shown=lambda pool: one.shown if (one := wiring.answering(pool)) else (),
        agent=f"Fairturn/{version.VERSION}",
    )
    return Courier(
        book=deliveries(),
        bring=room.bring,
        told=lambda channel, state: metrics.count("fairturn_deliveries_total", channel=channel, state=state),
        report=lambda exc: log.warning("delivery.failed", failure=logs.tell(exc)),
    )


@cache
def push_sender() -> "push.Sender":
    """Who we are to push services; `public` is what a page subscribes with."""
    from gateways.notify import push  # noqa: PLC0415 - its libraries take long to load

    return push.Sender.load(devices().push_key(push.new_key), settings.load().face())

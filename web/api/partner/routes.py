"""Everything a partner can ask, put together."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.security import HTTPAuthorizationCredentials

from config import desk, wiring
from config.settings import Settings
from routing.access import Scope
from routing.journey import Announce
from web import identity
from web.api.partner import hooks, me, offers, openings, proof, stream, team
from web.api.partner.feed import Feed
from web.api.partner.me import Us
from web.api.partner.offers import Offers
from web.api.partner.once import Once
from web.api.partner.team import OurPeople
from web.limits import allowance, within


def routers(announce: Announce, nudge: Callable[[str], object], cfg: Settings) -> Iterator[APIRouter]:
    """The routes, each with the scopes it asks for; the caller brings the way to tell workers."""
    allow = within(identity.allow, desk.buckets, allowance(cfg.api_per_minute))
    once = Once(desk.replays)
    seen = Offers(desk.partner, lambda: wiring.desk(announce, nudge), desk.answering, once, desk.opened)
    yield offers.routes(seen, allow)
    yield openings.routes(seen, lambda: wiring.openings(nudge), once, allow)
    us = Us(desk.team, wiring.members, desk.standings, desk.devices, lambda ids: announce("leads.fill", ids))
    yield me.routes(us, allow)
    yield proof.routes(wiring.seals, allow)
    yield team.routes(OurPeople(desk.team, wiring.people, seen, once), allow)
    feed = Feed(lambda members: desk.partner().heads(members))
    yield stream.routes(feed, desk.partner, allow, _still_may)
    yield hooks.hooks(wiring.endpoints, allow, loopback=cfg.notify_loopback)
    yield hooks.devices(
        wiring.devices, lambda: wiring.push_sender().public, partial(_subscription, cfg.notify_loopback), allow
    )


def _subscription(loopback: bool, told: dict[str, Any]) -> dict[str, Any]:
    from gateways.notify.push import Subscription  # noqa: PLC0415 - its libraries take long to load

    return Subscription.read(told, loopback=loopback).as_told()


def _still_may(request: Request) -> object:
    """Look at the token of a stream once more. Raises when it opens nothing any more."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = HTTPAuthorizationCredentials(scheme=scheme, credentials=token.strip())
    return identity.allow(Scope.EVENTS_READ)(request, given)

"""Everything a partner can ask, put together."""

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Request
from fastapi.security import HTTPAuthorizationCredentials

from config import desk
from routing.access import Scope
from routing.answering import Desk
from web import identity
from web.api.partner import offers, stream
from web.api.partner.feed import Feed
from web.api.partner.once import Once
from web.limits import allowance, within


def routers(*, answers: Callable[[], Desk], per_minute: int) -> Iterator[APIRouter]:
    """The routes, each with the scopes it asks for; `per_minute` requests of each caller."""
    allow = within(identity.allow, desk.buckets, allowance(per_minute))
    once = Once(desk.replays)
    yield offers.routes(offers.Offers(desk.partner, answers, desk.answering, once), allow)
    feed = Feed(lambda members: desk.partner().heads(members))
    yield stream.routes(feed, desk.partner, allow, _still_may)


def _still_may(request: Request) -> object:
    """Look at the token of a stream once more. Raises when it opens nothing any more."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = HTTPAuthorizationCredentials(scheme=scheme, credentials=token.strip())
    return identity.allow(Scope.EVENTS_READ)(request, given)

"""What decides: the turnstile, the dispatcher, and everything that feeds them."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import structlog

from config import logs, metrics, settings
from config.celery import LANES
from config.geocoder_health import Health
from gateways.countries import alpha2
from gateways.geocoding.chain import Chain, providers
from routing import near
from routing.auditor import Auditor
from routing.change import Change
from routing.corrector import Corrector
from routing.dispatcher import Dispatcher
from routing.drift import Drift
from routing.entry import Door, at_the_door
from routing.holding import Holder
from routing.intake import Folded, Read, Sheet, fold
from routing.journey import GATHER_S, Announce, Journey
from routing.lane import Flows, Lane, is_hot
from routing.policy import Policy
from routing.sweeper import Sweeper
from routing.timekeeper import Openings, Timekeeper
from routing.turn_keeper import TurnKeeper
from storage.postgres.chances import Chances
from storage.postgres.corrections import Corrections
from storage.postgres.followed import FollowedAccounts
from storage.postgres.geocodes import Geocodes
from storage.postgres.invariants import EXAMPLES, TURNSTILE, Invariants
from storage.postgres.members import Members
from storage.postgres.open_pool import OpenPool
from storage.postgres.policy_reader import NoPolicy
from storage.postgres.reservations import Reservations
from storage.postgres.runs import Runs
from storage.postgres.timers import Timers
from storage.postgres.truth import Truth
from storage.postgres.turn_book import TurnBook
from storage.redis.audit import TurnstileAudit
from storage.redis.broker import Broker
from storage.redis.limiter import RateLimiter
from storage.redis.turnstile import RedisTurnstile

if TYPE_CHECKING:
    pass
from config import wiring
from config.wiring import Nudge

log = structlog.get_logger()


@cache
def turnstile() -> RedisTurnstile:
    return RedisTurnstile(settings.load().turnstile())


@cache
def broker() -> Broker:
    return Broker(settings.load().broker())


@cache
def dispatcher() -> Dispatcher:
    return Dispatcher(
        ledger=wiring.ledger(),
        turnstile=turnstile(),
        new_id=wiring.new_id,
        stopped=lambda limit, times: metrics.count("fairturn_limit_stops_total", times, limit=limit),
    )


@cache
def geocoder() -> Chain:
    cfg = settings.load()
    return Chain(
        providers(
            cfg.geocoders,
            keys=cfg.geocoder_keys,
            user_agent=cfg.geocoder_user_agent,
            timeout_s=cfg.geocoder_timeout_s,
            nominatim_domain=cfg.geocoder_nominatim_domain,
            directory=cfg.places(),
        ),
        cache=Geocodes(wiring.engine()),
        limiter=RateLimiter(cfg.turnstile()),
        rate_per_s=cfg.geocoder_rate_per_s,
        timeout_s=cfg.geocoder_timeout_s,
        told=Health(wiring.heartbeats()).told,
    )


@cache
def journey(announce: Announce, nudge: Nudge) -> Journey:
    """The verbs of a lead's way; the caller brings the way to tell workers."""
    return Journey(
        leads=wiring.leads(),
        runs=Runs(wiring.engine()),
        dispatcher=dispatcher(),
        geocoder=geocoder(),
        read=read,
        fetch=lambda ids: wiring.salesforce().read(ids),
        answering=wiring.answering_now,
        announce=announce,
        nudge=wiring.members_too(nudge),
        report=lambda exc: log.error("set.aside", failure=logs.tell(exc)),
        gather_s=GATHER_S,
        at_once=wiring.done_at_once(),
    )


@cache
def holder() -> Holder:
    """Has the turnstile hold places of offers that it did not give."""
    return Holder(truth=Truth(wiring.engine()), turnstile=TurnstileAudit(settings.load().turnstile()))


@cache
def corrections() -> Corrections:
    return Corrections(wiring.engine())


@cache
def corrector() -> Corrector:
    """Sets turns right that are owed."""
    return Corrector(
        book=corrections(), turnstile=turnstile(), mend=dispatcher().mend, stand_alone=wiring.ledger().stand_alone
    )


@cache
def followed() -> FollowedAccounts:
    """How far every account is from what is due to it."""
    return FollowedAccounts(wiring.engine())


@cache
def turn_book() -> TurnBook:
    return TurnBook(wiring.engine())


@cache
def turn_keeper() -> TurnKeeper:
    """Counts, repays and rolls turns by the clock."""
    return TurnKeeper(
        book=turn_book(),
        follows=followed(),
        ledger=wiring.ledger(),
        markets=lambda: wiring.members().versions(),
        correct=lambda: corrector().correct(),
        forget=lambda market, rotations: turnstile().forget(market, rotations),
    )


@cache
def sweeper(announce: Announce, nudge: Nudge) -> Sweeper:
    return Sweeper(
        journey=journey(announce, nudge),
        dispatcher=dispatcher(),
        turnstile=turnstile(),
        reservations=Reservations(wiring.engine()),
        comparer=wiring.comparer(announce, nudge),
        markets=lambda: Members(wiring.engine()).versions(),
        due=wiring.outbox().due,
        depth=lambda lane: broker().depth(LANES[lane]),
        nudge=nudge,
        corrector=corrector(),
        timekeeper=timekeeper(announce, nudge),
        edited=wiring.edits().waiting,
        untold=lambda: wiring.tells() and wiring.deliveries().due(),
        publish_due=wiring.publisher().publish_due,
    )


@cache
def timekeeper(announce: Announce, nudge: Nudge) -> Timekeeper:
    """Looks what is due by the clock."""
    return Timekeeper(
        timers=Timers(wiring.engine(), wiring.answering_now), pool=open_pool(), announce=announce, nudge=nudge
    )


@cache
def openings(nudge: Nudge) -> Openings:
    """Other ways to a lead than one's turn; the caller brings the way to tell workers."""
    return Openings(chances=Chances(wiring.engine(), wiring.answering_now), pool=open_pool(), nudge=nudge)


@cache
def open_pool() -> OpenPool:
    return OpenPool(wiring.engine(), wiring.answering_now, wiring.new_id)


@cache
def invariants() -> Invariants:
    return Invariants(wiring.engine())


@cache
def auditor() -> Auditor:
    """Compares turnstile and ledger; what it finds is counted and told, and then mended."""
    return Auditor(
        truth=Truth(wiring.engine()), turnstile=TurnstileAudit(settings.load().turnstile()), tell=_tell_of_drift
    )


def _tell_of_drift(market: str, found: Drift) -> None:
    kinds = {kind: n for kind, n in found.counts().items() if n}
    log.error("turnstile.differs", market=market, **kinds)
    for kind, n in kinds.items():
        metrics.count("fairturn_drift_total", n, kind=kind)


def audit() -> int:
    """Compare turnstile and ledger in every market; how many differences were found and mended."""
    found: list[Drift] = [one for market in wiring.members().versions() if (one := auditor().audit(market)) is not None]
    offers = [str(offer) for one in found for offer in (*one.leaked, *one.missing)]
    differences = sum(sum(one.counts().values()) for one in found)
    if found:
        invariants().note(TURNSTILE, differences, offers[:EXAMPLES])
    return differences


def lane_of() -> Callable[[Change], Lane]:
    """Tells imports from people, for one reader of a stream."""
    cfg, reads = settings.load(), wiring.field_map().reads
    flows = Flows(
        per_minute=cfg.bulk_per_minute,
        hot_from=cfg.hot_priority,
        priority=reads.get("priority", ()),
        source=reads.get("source", ()),
        clock=time.monotonic,
    )
    return lambda change: flows.lane(change.commit_user, change.origin, change.body)


def read(change: Change, known: Sheet | None) -> Folded:
    """Read one change into its lead, through the field map and past the policy's door."""
    return _read_at_the_door()(change, known)


@cache
def _read_at_the_door() -> Read:
    return at_the_door(_read, _Doorkeeper(wiring.ledger().published))


class _Doorkeeper:
    """Knows what the published policy wants at the door; asks the ledger for it once a second at most."""

    def __init__(self, published: Callable[[], Policy]) -> None:
        self._published = published
        self._door, self._until = Door(), 0.0

    def __call__(self) -> Door:
        if time.monotonic() >= self._until:
            with suppress(NoPolicy):
                self._door = Door.of(self._published())
            self._until = time.monotonic() + 1
        return self._door


def _read(change: Change, known: Sheet | None) -> Folded:
    """Read one change into its lead, through the field map."""
    mapping = wiring.field_map()
    # Only a user who is known already: reading events must not wait for a login.
    session = wiring.tokens().known if settings.load().salesforce_login_url else None
    name, user = settings.load().salesforce_client_name, session.user_id if session else ""
    by_us = mapping.is_by_us(change, client_name=name, user_id=user)
    echo = by_us and mapping.is_ours(change.changed)
    partial = mapping.says_too_little(change.body)
    geocoded = not change.origin and mapping.is_geocode(change.changed)
    fields = mapping.fields_of(change.body)
    if change.by_rest and is_hot(fields.get("priority"), settings.load().hot_priority):
        change = replace(change, lane=Lane.HOT)
    return fold(known, change, fields, ours=echo, by_us=by_us, partial=partial, geocoded=geocoded, alpha2=alpha2)


def warm() -> None:
    """Load what takes long, before a worker forks: its children share it and answer their first lead at once."""
    geocoder().warm()
    near.trees()
    # The children's collectors leave alone what is here now, so that its memory stays shared.
    gc.collect()
    gc.freeze()

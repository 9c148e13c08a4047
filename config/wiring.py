"""The only place that knows both a setting and a class; everything is built on first use, once a process."""

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
import uuid_utils.compat as uuid_utils

from config import logs, metrics, policy_checking, policy_text, settings, version
from config import policy as policy_file
from config.celery import LANES
from config.gatekeeper import Gatekeeper
from config.geocoder_health import Health
from config.links import Links
from config.publisher import Publisher
from config.signing import Signer
from config.tokens import Letter, Postman, Tokens
from config.vault import Vault
from gateways.countries import alpha2
from gateways.geocoding.chain import Chain, providers
from gateways.oidc import OutsideIssuer
from gateways.salesforce.auth import ClientCredentials, Flow, JwtBearer, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Endpoint, Stream
from routing import near
from routing.access import Outsider
from routing.answering import Desk
from routing.auditor import Auditor
from routing.change import Change
from routing.compare import Comparer
from routing.corrector import Corrector
from routing.courier import Courier
from routing.delivery import Channel, Manners
from routing.dispatcher import Dispatcher
from routing.drift import Drift
from routing.entry import Door, at_the_door
from routing.errors import BadInput, GiveUp
from routing.gate import Budget
from routing.heeding import Heeder
from routing.holding import Holder
from routing.intake import Folded, Read, Sheet, fold
from routing.journey import GATHER_S, Announce, Journey, Verb
from routing.lane import Flows, Lane, is_hot
from routing.leavers import Leavers, activity
from routing.offer_records import OfferShower
from routing.outbound import Outbound
from routing.policy import Answering, Policy
from routing.sweeper import Sweeper
from routing.timekeeper import Openings, Timekeeper
from routing.turn_keeper import TurnKeeper
from storage.postgres.answers import Answers
from storage.postgres.api_keys import ApiKeys
from storage.postgres.baskets import Baskets
from storage.postgres.chances import Chances
from storage.postgres.clients import Clients
from storage.postgres.contents import Contents
from storage.postgres.corrections import Corrections
from storage.postgres.deliveries import Deliveries
from storage.postgres.device_logins import DeviceLogins
from storage.postgres.devices import Devices
from storage.postgres.edits import Edits
from storage.postgres.endpoints import Endpoints
from storage.postgres.engine import Engine, connect
from storage.postgres.events import Events
from storage.postgres.explain import Explain
from storage.postgres.export import Export
from storage.postgres.find import Find
from storage.postgres.followed import FollowedAccounts
from storage.postgres.gates import OrgGate
from storage.postgres.geocodes import Geocodes
from storage.postgres.heartbeats import Heartbeats
from storage.postgres.history import History
from storage.postgres.invariants import EXAMPLES, TURNSTILE, Invariants
from storage.postgres.leads import Leads
from storage.postgres.leavers import LeaverRows
from storage.postgres.ledger import RoutingLedger
from storage.postgres.links_used import LinksUsed
from storage.postgres.live import Live
from storage.postgres.logins import Logins
from storage.postgres.members import Members
from storage.postgres.offer_records import OfferRecords
from storage.postgres.open_pool import OpenPool
from storage.postgres.outbox import Outbox
from storage.postgres.parked import Parked
from storage.postgres.people import People
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import NoPolicy, Trouble
from storage.postgres.positions import Positions
from storage.postgres.reexecution import Reexecution
from storage.postgres.reprocess import Reprocess
from storage.postgres.reservations import Reservations
from storage.postgres.retention import Retention
from storage.postgres.roster_changes import RosterChanges
from storage.postgres.runs import Runs
from storage.postgres.scans import Scans
from storage.postgres.seals import Seals
from storage.postgres.sessions import Sessions
from storage.postgres.signing_keys import SigningKeys
from storage.postgres.stats import Stats
from storage.postgres.steps_shown import StepsShown
from storage.postgres.timers import Timers
from storage.postgres.truth import Truth
from storage.postgres.turn_book import TurnBook
from storage.postgres.verify import Verify
from storage.redis.audit import TurnstileAudit
from storage.redis.broker import Broker
from storage.redis.limiter import RateLimiter
from storage.redis.turnstile import RedisTurnstile

if TYPE_CHECKING:
    from gateways.notify import push
    from gateways.traces import Traces

log = structlog.get_logger()

Nudge = Callable[[str], object]
#: A letter of the house is of no use after that: so long a login code works.
LETTER_LIVES_S = 600.0


#: Connections that a process keeps to the ledger; as many again may be opened for a moment.
_pool = {"size": 5}


def expect(callers: int) -> None:
    """Let so many callers of this process use the ledger at once; to be said before its first use."""
    _pool["size"] = callers


@cache
def engine() -> Engine:
    """The ledger's engine. Raises BadInput when no database is set."""
    url = settings.load().sqlalchemy_url()
    if not url:
        raise BadInput(
            "no database is set",
            field="DATABASE_URL",
            fix="Set DATABASE_URL, or start with `fairturn up`, which brings its own server.",
        )
    return connect(url, pool_size=_pool["size"])


@cache
def ledger() -> RoutingLedger:
    return RoutingLedger(engine(), parse_policy, read=_read_policy, tell=_tell_of_policy)


def parse_policy(document: Mapping[str, Any], version: int) -> Policy:
    """The policy a document states, with the contents of its tables and areas. Raises BadInput with the place."""
    return policy_file.parse(document, version, contents=contents().get)


@cache
def contents() -> Contents:
    """The files of the policy's tables and areas."""
    return Contents(engine())


def _read_policy(text: str) -> Mapping[str, Any]:
    return policy_text.read(text, "policy")


def _tell_of_policy(trouble: Trouble) -> None:
    log.error("policy.unreadable", version=trouble.version, instead=trouble.instead, because=trouble.error)


@cache
def publisher() -> Publisher:
    """What people do with versions of the policy."""
    return Publisher(
        policies=policies(),
        parse=parse_policy,
        check=_look_through,
        contents=contents(),
        people=settings.load().policy_approvals,
        wake=leads().wake,
    )


@cache
def roster_changes() -> RosterChanges:
    return RosterChanges(engine())


def _look_through(document: Mapping[str, Any], policy: Policy) -> Sequence[Mapping[str, Any]]:
    """What the check finds, held against the members there are. Raises BadInput for what must not be published."""
    known = policy_checking.people(members(), ledger().open_counts)
    return policy_checking.look_through(document, policy, known, contents=contents().get)


@cache
def turnstile() -> RedisTurnstile:
    return RedisTurnstile(settings.load().turnstile())


@cache
def broker() -> Broker:
    return Broker(settings.load().broker())


@cache
def baskets() -> Baskets:
    """Leads that rules keep apart."""
    return Baskets(engine())


@cache
def dispatcher() -> Dispatcher:
    return Dispatcher(
        ledger=ledger(),
        turnstile=turnstile(),
        new_id=new_id,
        stopped=lambda limit, times: metrics.count("fairturn_limit_stops_total", times, limit=limit),
    )


@cache
def field_map() -> FieldMap:
    return FieldMap.load(settings.load().salesforce_mapping_file)


@cache
def tokens() -> TokenProvider:
    cfg = settings.load()
    if not cfg.salesforce_login_url:
        raise BadInput(
            "no Salesforce org is set",
            field="SALESFORCE_LOGIN_URL",
            fix="Set it to your My Domain, such as https://example.my.salesforce.com.",
        )
    return TokenProvider(cfg.salesforce_login_url, _flow(cfg), ca_file=cfg.salesforce_ca_file)


@cache
def salesforce() -> Salesforce:
    cfg = settings.load()
    return Salesforce(
        tokens(),
        field_map(),
        version=cfg.salesforce_api_version,
        client_name=cfg.salesforce_client_name,
        ca_file=cfg.salesforce_ca_file,
        gate=gate(),
    )


@cache
def gate() -> OrgGate:
    cfg = settings.load()
    return OrgGate(engine(), Budget(share=cfg.salesforce_api_share, calls=cfg.salesforce_api_calls))


def stream(topic: str, stop: threading.Event | None = None) -> Stream:
    """A new reader of a change stream."""
    cfg = settings.load()
    endpoint = Endpoint(
        cfg.salesforce_pubsub,
        cfg.salesforce_pubsub_plaintext,
        cfg.salesforce_ca_file,
        cfg.salesforce_keepalive_s,
    )
    return Stream(
        endpoint,
        topic,
        tokens(),
        entity=field_map().record_type,
        preset=cfg.salesforce_replay,
        silence_s=cfg.salesforce_silence_s,
        stop=stop,
        broke=lambda code: metrics.count("fairturn_stream_breaks_total", code=code),
    )


@cache
def outbox() -> Outbox:
    cfg = settings.load()
    return Outbox(engine(), gate(), tries=cfg.salesforce_write_tries, offers=cfg.salesforce_offer_object)


@cache
def offer_shower() -> OfferShower:
    """Shows each offer in a record of its own."""
    book = OfferRecords(engine(), gate(), tries=settings.load().salesforce_write_tries)
    return OfferShower(book, lambda records: salesforce().write_offers(records))


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
        cache=Geocodes(engine()),
        limiter=RateLimiter(cfg.turnstile()),
        rate_per_s=cfg.geocoder_rate_per_s,
        timeout_s=cfg.geocoder_timeout_s,
        told=Health(heartbeats()).told,
    )


@cache
def journey(announce: Announce, nudge: Nudge) -> Journey:
    """The verbs of a lead's way; the caller brings the way to tell workers."""
    return Journey(
        leads=leads(),
        runs=Runs(engine()),
        dispatcher=dispatcher(),
        geocoder=geocoder(),
        read=read,
        fetch=lambda ids: salesforce().read(ids),
        answering=_answering,
        announce=announce,
        nudge=_members_too(nudge),
        report=lambda exc: log.error("set.aside", failure=logs.tell(exc)),
        gather_s=GATHER_S,
        at_once=_at_once(),
    )


@cache
def answers() -> Answers:
    return Answers(engine(), _answering)


@cache
def desk(announce: Announce, nudge: Nudge) -> Desk:
    """Takes answers to offers; the caller brings the way to tell workers."""
    return Desk(answers(), announce, _members_too(nudge))


@cache
def heeder(announce: Announce, nudge: Nudge) -> Heeder:
    """Gives the answers that people gave in Salesforce."""
    return Heeder(edits=edits(), desk=desk(announce, nudge), nudge=nudge)


@cache
def leavers(announce: Announce, nudge: Nudge) -> Leavers:
    """Looks which members became inactive in Salesforce."""
    return Leavers(
        book=LeaverRows(engine()),
        org=salesforce,
        desk=desk(announce, nudge),
        kinds=activity(field_map().activity),
        fill=lambda members: announce("leads.fill", list(members)),
        calls_a_day=lambda: gate().state().allowed,
        every_s=settings.load().salesforce_members_every_s,
    )


@cache
def edits() -> Edits:
    return Edits(engine())


def answering(pool: str) -> Answering | None:
    """How offers of a pool are answered; None for one that the policy does not name any more."""
    return _answering().get(pool)


def _answering() -> Mapping[str, Answering]:
    return {p.name: p.answering for p in ledger().published().pools}


def _at_once() -> frozenset[Verb]:
    """Every verb but that of asking other people's geocoders: who waits for those holds nobody else up."""
    return frozenset({"route", "locate"} if geocoder().is_local else {"route"})


@cache
def outbound(nudge: Nudge) -> Outbound:
    return Outbound(
        outbox=outbox(),
        dispatcher=dispatcher(),
        write=lambda writes: salesforce().write(writes),
        withdraw=leads().withdraw,
        nudge=_members_too(nudge),
        correct=corrector().correct,
        hold=holder().hold,
        offers=offer_shower().deliver if settings.load().salesforce_offer_object else None,
    )


@cache
def holder() -> Holder:
    """Has the turnstile hold places of offers that it did not give."""
    return Holder(truth=Truth(engine()), turnstile=TurnstileAudit(settings.load().turnstile()))


@cache
def corrections() -> Corrections:
    return Corrections(engine())


@cache
def corrector() -> Corrector:
    """Sets turns right that are owed."""
    return Corrector(
        book=corrections(), turnstile=turnstile(), mend=dispatcher().mend, stand_alone=ledger().stand_alone
    )


@cache
def followed() -> FollowedAccounts:
    """How far every account is from what is due to it."""
    return FollowedAccounts(engine())


@cache
def turn_book() -> TurnBook:
    return TurnBook(engine())


@cache
def turn_keeper() -> TurnKeeper:
    """Counts, repays and rolls turns by the clock."""
    return TurnKeeper(
        book=turn_book(),
        follows=followed(),
        ledger=ledger(),
        markets=lambda: members().versions(),
        correct=lambda: corrector().correct(),
        forget=lambda market, rotations: turnstile().forget(market, rotations),
    )


@cache
def sweeper(announce: Announce, nudge: Nudge) -> Sweeper:
    return Sweeper(
        journey=journey(announce, nudge),
        dispatcher=dispatcher(),
        turnstile=turnstile(),
        reservations=Reservations(engine()),
        comparer=comparer(announce, nudge),
        markets=lambda: Members(engine()).versions(),
        due=outbox().due,
        depth=lambda lane: broker().depth(LANES[lane]),
        nudge=nudge,
        corrector=corrector(),
        timekeeper=timekeeper(announce, nudge),
        edited=edits().waiting,
        untold=lambda: tells() and deliveries().due(),
        publish_due=publisher().publish_due,
    )


@cache
def timekeeper(announce: Announce, nudge: Nudge) -> Timekeeper:
    """Looks what is due by the clock."""
    return Timekeeper(timers=Timers(engine(), _answering), pool=open_pool(), announce=announce, nudge=nudge)


@cache
def openings(nudge: Nudge) -> Openings:
    """Other ways to a lead than one's turn; the caller brings the way to tell workers."""
    return Openings(chances=Chances(engine(), _answering), pool=open_pool(), nudge=nudge)


@cache
def open_pool() -> OpenPool:
    return OpenPool(engine(), _answering, new_id)


@cache
def traces() -> "Traces | None":
    """The way to the collector of traces; None where none is set."""
    from gateways.traces import Traces  # noqa: PLC0415 - its libraries take a third of a second to load

    cfg = settings.load()
    if not cfg.otlp_endpoint:
        return None
    timeline = StepsShown(engine())
    return Traces.to(
        cfg.otlp_endpoint, timeline, deployment=cfg.deployment, version=version.VERSION, share=cfg.trace_share
    )


@cache
def comparer(announce: Announce, nudge: Nudge) -> Comparer:

    def retell(records: Sequence[Change]) -> int:
        return outbox().compare(salesforce().versions(records))

    return Comparer(scans=scans(), org=salesforce, journey=journey(announce, nudge), retell=retell)


@cache
def scans() -> Scans:
    return Scans(engine(), settings.load().salesforce_topic)


@cache
def invariants() -> Invariants:
    return Invariants(engine())


@cache
def auditor() -> Auditor:
    """Compares turnstile and ledger; what it finds is counted and told, and then mended."""
    return Auditor(truth=Truth(engine()), turnstile=TurnstileAudit(settings.load().turnstile()), tell=_tell_of_drift)


def _tell_of_drift(market: str, found: Drift) -> None:
    kinds = {kind: n for kind, n in found.counts().items() if n}
    log.error("turnstile.differs", market=market, **kinds)
    for kind, n in kinds.items():
        metrics.count("fairturn_drift_total", n, kind=kind)


def audit() -> int:
    """Compare turnstile and ledger in every market; how many differences were found and mended."""
    found: list[Drift] = [one for market in members().versions() if (one := auditor().audit(market)) is not None]
    offers = [str(offer) for one in found for offer in (*one.leaked, *one.missing)]
    differences = sum(sum(one.counts().values()) for one in found)
    if found:
        invariants().note(TURNSTILE, differences, offers[:EXAMPLES])
    return differences


@cache
def heartbeats() -> Heartbeats:
    return Heartbeats(engine())


@cache
def parked() -> Parked:
    return Parked(engine())


@cache
def events() -> Events:
    return Events(engine())


@cache
def positions() -> Positions:
    return Positions(engine())


@cache
def live() -> Live:
    return Live(engine())


@cache
def stats() -> Stats:
    return Stats(engine())


@cache
def explain() -> Explain:
    return Explain(engine())


@cache
def export() -> Export:
    return Export(engine())


@cache
def find() -> Find:
    """Looks for leads by filters."""
    return Find(engine())


@cache
def history() -> History:
    """The house as it was."""
    return History(engine())


@cache
def seals() -> Seals:
    """Seals over what was written."""
    return Seals(engine())


@cache
def retention() -> Retention:
    """Removes what is older than FAIRTURN_KEEP_DAYS."""
    return Retention(engine(), settings.load().keep_days)


@cache
def reprocess() -> Reprocess:
    """Sends chosen leads through the house once more."""
    return Reprocess(engine())


@cache
def reexecution() -> Reexecution:
    """Makes past decisions again from what was kept of them."""
    return Reexecution(engine(), parse_policy)


def policy_contents(digest: str) -> bytes:
    """What a table or an area of a policy holds."""
    return publisher().contents.get(digest)


@cache
def verifier() -> Verify:
    return Verify(engine())


@cache
def leads() -> Leads:
    return Leads(engine())


@cache
def policies() -> Policies:
    return Policies(engine())


@cache
def members() -> Members:
    return Members(engine())


@cache
def people() -> People:
    return People(engine())


@cache
def clients() -> Clients:
    return Clients(engine())


@cache
def api_keys() -> ApiKeys:
    return ApiKeys(engine())


@cache
def vault() -> Vault:
    """Seals what must be secret. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Vault(settings.load().secret.get_secret_value())


@cache
def signer() -> Signer:
    """Issues and verifies access tokens. Raises BadInput when FAIRTURN_SECRET is not set."""
    face = settings.load().face()
    return Signer(SigningKeys(engine()), vault(), issuer=face, audience=f"{face}/api/v1")


def signer_or_none() -> Signer | None:
    """The same; None where no secret is set: then nobody has a token of ours."""
    return signer() if settings.load().secret.get_secret_value() else None


@cache
def tokens_for() -> Tokens | None:
    """Gives tokens to people and programs; None where FAIRTURN_SECRET is not set."""
    if signer_or_none() is None:
        return None
    return Tokens(
        signer=signer(),
        vault=vault(),
        people=people(),
        clients=clients(),
        sessions=Sessions(engine()),
        logins=Logins(engine()),
        devices=DeviceLogins(engine()),
        postman=postman,
    )


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
    return Endpoints(engine(), vault())


@cache
def devices() -> Devices:
    """Where people take web push. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Devices(engine(), vault())


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
    return Deliveries(engine(), vault(), manners=manners)


@cache
def links() -> Links:
    """One-tap links. Raises BadInput when FAIRTURN_SECRET is not set."""
    return Links(vault(), settings.load().face())


@cache
def links_used() -> LinksUsed:
    return LinksUsed(engine())


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
        vault=vault(),
        caller=Caller(loopback=cfg.notify_loopback),
        messenger=Messenger(templates(cfg.notify_urls)),
        sender=push_sender,
        links=links(),
        face=cfg.face(),
        shown=lambda pool: one.shown if (one := answering(pool)) else (),
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


def _members_too(nudge: Nudge) -> Nudge:
    """Whenever Salesforce must be told of something, members may have to be, too."""

    def both(task: str) -> object:
        if task == "outbox.deliver" and tells():
            nudge("deliveries.send")
        return nudge(task)

    return both


def outside_issuer() -> Callable[[str], Outsider | None] | None:
    """Whose tokens are taken besides our own; None where no outside issuer is set."""
    cfg = settings.load()
    if not cfg.oidc_issuer:
        return None
    if not cfg.oidc_audience:
        raise BadInput("it is not set", field="FAIRTURN_OIDC_AUDIENCE", fix="Name what its tokens are for.")
    return OutsideIssuer(cfg.oidc_issuer, cfg.oidc_audience).verify


@cache
def gatekeeper() -> Gatekeeper:
    """Knows who calls; without FAIRTURN_SECRET by API key and outside token only."""
    return Gatekeeper(
        people=people(),
        clients=clients(),
        keys=api_keys(),
        members=members(),
        signer=signer_or_none(),
        outside=outside_issuer(),
    )


def lane_of() -> Callable[[Change], Lane]:
    """Tells imports from people, for one reader of a stream."""
    cfg, reads = settings.load(), field_map().reads
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
    return at_the_door(_read, _Doorkeeper(ledger().published))


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
    mapping = field_map()
    # Only a user who is known already: reading events must not wait for a login.
    session = tokens().known if settings.load().salesforce_login_url else None
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


def publish_policy(document: Mapping[str, Any] | None = None, *, actor: str, note: str = "") -> Policy:
    """Publish a policy document (the file of FAIRTURN_POLICY_FILE, else the default) and wake what waits for it.

    The house itself does so, for its first policy or a demo: nobody's approval is asked.
    """
    file = settings.load().policy_file
    doc = document or (policy_file.load_file(file) if file else policy_file.default_document())
    draft = parse_policy(doc, 0)
    before = policies().in_force()
    version = policies().publish(
        doc,
        list(draft.tiers.values()),
        draft.default_tier,
        [(p.name, p.market, str(p.mode)) for p in draft.pools],
        actor=actor,
        note=note,
        source=doc.source or None if isinstance(doc, policy_text.Written) else None,
    )
    if before is not None and before != version:
        leads().wake()
    return parse_policy(doc, version)


def forget() -> None:
    """Drop what was built, so that changed settings count: for the command line, which starts servers first."""
    if engine.cache_info().currsize:
        engine().dispose()
    for built in (v for v in globals().values() if hasattr(v, "cache_clear")):
        built.cache_clear()
    settings.load.cache_clear()


def new_id() -> UUID:
    """An id for an offer: a UUID of version 7, so that ids made later sort later."""
    return uuid_utils.uuid7()


def _flow(cfg: settings.Settings) -> Flow:
    if cfg.salesforce_auth == "client_credentials":
        return ClientCredentials(cfg.salesforce_client_id, cfg.salesforce_client_secret.get_secret_value())
    if cfg.salesforce_private_key_file is None:
        raise BadInput("no key file is set", field="SALESFORCE_PRIVATE_KEY_FILE", fix="Name the PEM file of the key.")
    return JwtBearer.from_file(
        cfg.salesforce_client_id, cfg.salesforce_username, cfg.salesforce_private_key_file, cfg.salesforce_audience
    )

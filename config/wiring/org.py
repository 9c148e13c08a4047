"""Salesforce: reading its stream, asking it, writing to it."""

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from config import metrics, settings
from gateways.salesforce.auth import ClientCredentials, Flow, JwtBearer, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Endpoint, Stream
from routing.change import Change
from routing.compare import Comparer
from routing.errors import BadInput
from routing.gate import Budget
from routing.heeding import Heeder
from routing.journey import Announce
from routing.leavers import Leavers, activity
from routing.offer_records import OfferShower
from routing.outbound import Outbound
from storage.postgres.edits import Edits
from storage.postgres.gates import OrgGate
from storage.postgres.leavers import LeaverRows
from storage.postgres.offer_records import OfferRecords
from storage.postgres.outbox import Outbox
from storage.postgres.scans import Scans

if TYPE_CHECKING:
    pass
from config import wiring
from config.wiring import Nudge


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
    return OrgGate(wiring.engine(), Budget(share=cfg.salesforce_api_share, calls=cfg.salesforce_api_calls))


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
    return Outbox(wiring.engine(), gate(), tries=cfg.salesforce_write_tries, offers=cfg.salesforce_offer_object)


@cache
def offer_shower() -> OfferShower:
    """Shows each offer in a record of its own."""
    book = OfferRecords(wiring.engine(), gate(), tries=settings.load().salesforce_write_tries)
    return OfferShower(book, lambda records: salesforce().write_offers(records))


@cache
def heeder(announce: Announce, nudge: Nudge) -> Heeder:
    """Gives the answers that people gave in Salesforce."""
    return Heeder(edits=edits(), desk=wiring.desk(announce, nudge), nudge=nudge)


@cache
def leavers(announce: Announce, nudge: Nudge) -> Leavers:
    """Looks which members became inactive in Salesforce."""
    return Leavers(
        book=LeaverRows(wiring.engine()),
        org=salesforce,
        desk=wiring.desk(announce, nudge),
        kinds=activity(field_map().activity),
        fill=lambda members: announce("leads.fill", list(members)),
        calls_a_day=lambda: gate().state().allowed,
        every_s=settings.load().salesforce_members_every_s,
    )


@cache
def edits() -> Edits:
    return Edits(wiring.engine())


@cache
def outbound(nudge: Nudge) -> Outbound:
    return Outbound(
        outbox=outbox(),
        dispatcher=wiring.dispatcher(),
        write=lambda writes: salesforce().write(writes),
        withdraw=wiring.leads().withdraw,
        nudge=wiring.members_too(nudge),
        correct=wiring.corrector().correct,
        hold=wiring.holder().hold,
        offers=offer_shower().deliver if settings.load().salesforce_offer_object else None,
    )


@cache
def comparer(announce: Announce, nudge: Nudge) -> Comparer:

    def retell(records: Sequence[Change]) -> int:
        return outbox().compare(salesforce().versions(records))

    return Comparer(scans=scans(), org=salesforce, journey=wiring.journey(announce, nudge), retell=retell)


@cache
def scans() -> Scans:
    return Scans(wiring.engine(), settings.load().salesforce_topic)


def _flow(cfg: settings.Settings) -> Flow:
    if cfg.salesforce_auth == "client_credentials":
        return ClientCredentials(cfg.salesforce_client_id, cfg.salesforce_client_secret.get_secret_value())
    if cfg.salesforce_private_key_file is None:
        raise BadInput("no key file is set", field="SALESFORCE_PRIVATE_KEY_FILE", fix="Name the PEM file of the key.")
    return JwtBearer.from_file(
        cfg.salesforce_client_id, cfg.salesforce_username, cfg.salesforce_private_key_file, cfg.salesforce_audience
    )

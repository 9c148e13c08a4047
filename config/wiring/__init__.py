"""Puts the house together: a builder for each part, made once a process, and loaded only where it is asked for.

`wiring.ledger()` loads `config.wiring.rows` and what the ledger needs, nothing of Salesforce or of the simulation: so
the command line and each process start in a fraction of the time that all of it takes.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from config import settings

if TYPE_CHECKING:
    from config.wiring.callers import api_keys as api_keys
    from config.wiring.callers import clients as clients
    from config.wiring.callers import gatekeeper as gatekeeper
    from config.wiring.callers import outside_issuer as outside_issuer
    from config.wiring.callers import people as people
    from config.wiring.callers import signer as signer
    from config.wiring.callers import signer_or_none as signer_or_none
    from config.wiring.callers import tokens_for as tokens_for
    from config.wiring.callers import vault as vault
    from config.wiring.deciding import audit as audit
    from config.wiring.deciding import auditor as auditor
    from config.wiring.deciding import broker as broker
    from config.wiring.deciding import corrections as corrections
    from config.wiring.deciding import corrector as corrector
    from config.wiring.deciding import dispatcher as dispatcher
    from config.wiring.deciding import followed as followed
    from config.wiring.deciding import geocoder as geocoder
    from config.wiring.deciding import holder as holder
    from config.wiring.deciding import invariants as invariants
    from config.wiring.deciding import journey as journey
    from config.wiring.deciding import lane_of as lane_of
    from config.wiring.deciding import open_pool as open_pool
    from config.wiring.deciding import openings as openings
    from config.wiring.deciding import read as read
    from config.wiring.deciding import sweeper as sweeper
    from config.wiring.deciding import timekeeper as timekeeper
    from config.wiring.deciding import turn_book as turn_book
    from config.wiring.deciding import turn_keeper as turn_keeper
    from config.wiring.deciding import turnstile as turnstile
    from config.wiring.deciding import warm as warm
    from config.wiring.org import comparer as comparer
    from config.wiring.org import edits as edits
    from config.wiring.org import field_map as field_map
    from config.wiring.org import gate as gate
    from config.wiring.org import heeder as heeder
    from config.wiring.org import leavers as leavers
    from config.wiring.org import offer_shower as offer_shower
    from config.wiring.org import outbound as outbound
    from config.wiring.org import outbox as outbox
    from config.wiring.org import salesforce as salesforce
    from config.wiring.org import scans as scans
    from config.wiring.org import stream as stream
    from config.wiring.org import tokens as tokens
    from config.wiring.records import export as export
    from config.wiring.records import find as find
    from config.wiring.records import history as history
    from config.wiring.records import reexecution as reexecution
    from config.wiring.records import reprocess as reprocess
    from config.wiring.records import retention as retention
    from config.wiring.records import seals as seals
    from config.wiring.records import traces as traces
    from config.wiring.records import verifier as verifier
    from config.wiring.replies import answers as answers
    from config.wiring.replies import courier as courier
    from config.wiring.replies import deliveries as deliveries
    from config.wiring.replies import desk as desk
    from config.wiring.replies import devices as devices
    from config.wiring.replies import endpoints as endpoints
    from config.wiring.replies import links as links
    from config.wiring.replies import links_used as links_used
    from config.wiring.replies import post_letter as post_letter
    from config.wiring.replies import postman as postman
    from config.wiring.replies import push_sender as push_sender
    from config.wiring.replies import tells as tells
    from config.wiring.rows import baskets as baskets
    from config.wiring.rows import contents as contents
    from config.wiring.rows import engine as engine
    from config.wiring.rows import events as events
    from config.wiring.rows import expect as expect
    from config.wiring.rows import explain as explain
    from config.wiring.rows import heartbeats as heartbeats
    from config.wiring.rows import leads as leads
    from config.wiring.rows import ledger as ledger
    from config.wiring.rows import live as live
    from config.wiring.rows import members as members
    from config.wiring.rows import new_id as new_id
    from config.wiring.rows import parked as parked
    from config.wiring.rows import parse_policy as parse_policy
    from config.wiring.rows import policies as policies
    from config.wiring.rows import policy_contents as policy_contents
    from config.wiring.rows import positions as positions
    from config.wiring.rows import stats as stats
    from config.wiring.versions import answering as answering
    from config.wiring.versions import answering_now as answering_now
    from config.wiring.versions import done_at_once as done_at_once
    from config.wiring.versions import members_too as members_too
    from config.wiring.versions import people_now as people_now
    from config.wiring.versions import publish_policy as publish_policy
    from config.wiring.versions import publisher as publisher
    from config.wiring.versions import roster_changes as roster_changes

Nudge = Callable[[str], object]
#: In which module each builder is.
_HOMES = {
    "answering": "versions",
    "answering_now": "versions",
    "answers": "replies",
    "api_keys": "callers",
    "audit": "deciding",
    "auditor": "deciding",
    "baskets": "rows",
    "broker": "deciding",
    "clients": "callers",
    "comparer": "org",
    "contents": "rows",
    "corrections": "deciding",
    "corrector": "deciding",
    "courier": "replies",
    "deliveries": "replies",
    "desk": "replies",
    "devices": "replies",
    "dispatcher": "deciding",
    "done_at_once": "versions",
    "edits": "org",
    "endpoints": "replies",
    "engine": "rows",
    "events": "rows",
    "expect": "rows",
    "explain": "rows",
    "export": "records",
    "field_map": "org",
    "find": "records",
    "followed": "deciding",
    "gate": "org",
    "gatekeeper": "callers",
    "geocoder": "deciding",
    "heartbeats": "rows",
    "heeder": "org",
    "history": "records",
    "holder": "deciding",
    "invariants": "deciding",
    "journey": "deciding",
    "lane_of": "deciding",
    "leads": "rows",
    "leavers": "org",
    "ledger": "rows",
    "links": "replies",
    "links_used": "replies",
    "live": "rows",
    "members": "rows",
    "members_too": "versions",
    "new_id": "rows",
    "offer_shower": "org",
    "open_pool": "deciding",
    "openings": "deciding",
    "outbound": "org",
    "outbox": "org",
    "outside_issuer": "callers",
    "parked": "rows",
    "parse_policy": "rows",
    "people": "callers",
    "people_now": "versions",
    "policies": "rows",
    "policy_contents": "rows",
    "positions": "rows",
    "post_letter": "replies",
    "postman": "replies",
    "publish_policy": "versions",
    "publisher": "versions",
    "push_sender": "replies",
    "read": "deciding",
    "reexecution": "records",
    "reprocess": "records",
    "retention": "records",
    "roster_changes": "versions",
    "salesforce": "org",
    "scans": "org",
    "seals": "records",
    "signer": "callers",
    "signer_or_none": "callers",
    "stats": "rows",
    "stream": "org",
    "sweeper": "deciding",
    "tells": "replies",
    "timekeeper": "deciding",
    "tokens": "org",
    "tokens_for": "callers",
    "traces": "records",
    "turn_book": "deciding",
    "turn_keeper": "deciding",
    "turnstile": "deciding",
    "vault": "callers",
    "verifier": "records",
    "warm": "deciding",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{home}"), name)


def forget() -> None:
    """Drop what was built, so that changed settings count: for the command line, which starts servers first."""
    names = {f"{__name__}.{home}" for home in _HOMES.values()} & sys.modules.keys()
    built = [one for name in names for one in vars(sys.modules[name]).values() if hasattr(one, "cache_clear")]
    rows = sys.modules.get(f"{__name__}.rows")
    if rows is not None and rows.engine.cache_info().currsize:
        rows.engine().dispose()
    for one in built:
        one.cache_clear()
    settings.load.cache_clear()

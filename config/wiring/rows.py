"""Where the ledger is kept, and the rows that everybody uses."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
import uuid_utils.compat as uuid_utils

from config import policy as policy_file
from config import policy_text, settings
from routing.errors import BadInput
from routing.policy import Policy
from storage.postgres.baskets import Baskets
from storage.postgres.contents import Contents
from storage.postgres.engine import Engine, connect
from storage.postgres.events import Events
from storage.postgres.explain import Explain
from storage.postgres.heartbeats import Heartbeats
from storage.postgres.leads import Leads
from storage.postgres.ledger import RoutingLedger
from storage.postgres.live import Live
from storage.postgres.members import Members
from storage.postgres.parked import Parked
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import Trouble
from storage.postgres.positions import Positions
from storage.postgres.stats import Stats

if TYPE_CHECKING:
    pass
from config import wiring

log = structlog.get_logger()

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
def baskets() -> Baskets:
    """Leads that rules keep apart."""
    return Baskets(engine())


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


def policy_contents(digest: str) -> bytes:
    """What a table or an area of a policy holds."""
    return wiring.publisher().contents.get(digest)


@cache
def leads() -> Leads:
    return Leads(engine())


@cache
def policies() -> Policies:
    return Policies(engine())


@cache
def members() -> Members:
    return Members(engine())


def new_id() -> UUID:
    """An id for an offer: a UUID of version 7, so that ids made later sort later."""
    return uuid_utils.uuid7()

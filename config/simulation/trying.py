"""One lead tried out against everything as it is at this instant; nothing is written anywhere (row W1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from config import settings, wiring
from gateways.countries import alpha2
from gateways.geocoding.offline import Offline
from routing.drift import Held
from routing.errors import BadInput, TryLater
from routing.lane import Lane
from routing.lead import Address, Lead, Point, Precision
from routing.policy import Policy
from routing.simulation.rehearsal import rehearse
from storage.postgres.rehearsing import Rehearsing
from storage.redis.audit import TurnstileAudit


@dataclass(frozen=True, slots=True)
class Facts:
    """A lead that nobody sent, as somebody describes it; others are facts that rules may ask, such as product."""

    country: str = ""
    region: str = ""
    city: str = ""
    postal_code: str = ""
    lat: float | None = None
    lon: float | None = None
    source: str = ""
    priority: int = 0
    hot: bool = False
    others: Mapping[str, object] = field(default_factory=dict)


def try_lead(ref: str, *, draft: Policy | None = None) -> dict[str, Any]:
    """What would become of a lead of the ledger now, under the live policy or a draft, with the whole explanation."""
    reader = _reader(draft)
    return rehearse(reader.of_lead(ref)).to_json(reader.names())


def try_facts(facts: Facts, *, draft: Policy | None = None) -> dict[str, Any]:
    """What would become of a lead with these facts. Raises BadInput when nobody knows where it is."""
    reader = _reader(draft)
    return rehearse(reader.of_facts(_lead(facts))).to_json(reader.names())


def _reader(draft: Policy | None) -> Rehearsing:
    audit = TurnstileAudit(settings.load().turnstile())

    def look(market: str) -> Held | None:
        try:
            return audit.look(market)
        except TryLater:
            return None  # it is away: the ledger would decide

    return Rehearsing(wiring.engine(), wiring.ledger().published if draft is None else lambda: draft, look)


def _lead(facts: Facts) -> Lead:
    country = alpha2(facts.country) if facts.country else None
    if facts.country and country is None:
        raise BadInput(f"{facts.country!r} is no country", field="country", fix="Write an ISO 3166 code such as US.")
    if (facts.lat is None) != (facts.lon is None):
        raise BadInput("only one of lat and lon is given", field="lat", fix="Give both, or a postal code or a city.")
    precision = Precision.EXACT
    if facts.lat is not None and facts.lon is not None:
        point = Point(facts.lat, facts.lon)
    else:
        address = Address("", facts.city, facts.region, facts.postal_code, country or "")
        found = None if address.is_empty else Offline(directory=settings.load().places()).find(address)
        if found is None:
            raise BadInput("nobody knows where it is", field="lat", fix="Give lat and lon, or a postal code or a city.")
        point, precision = found.point, found.precision
    told: dict[str, object] = {f"lead.{name}": value for name, value in facts.others.items()} | {
        "lead.region": facts.region,
        "lead.city": facts.city,
        "lead.postal_code": facts.postal_code,
        "lead.source": facts.source,
        "lead.owner": "",
    }
    lane = Lane.HOT if facts.hot else Lane.LIVE
    comes = datetime(1970, 1, 1, tzinfo=UTC)  # it comes now, by the ledger's clock
    return Lead(0, comes, country or "US", point, precision, facts.priority, lane=lane, facts=told)

"""What is simulated: a policy, and a stretch of the ledger's history or, with no ledger, leads and members of files."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from config import policy as policy_file
from config import settings, wiring
from gateways.geocoding.offline import Offline
from routing.errors import BadInput
from routing.lead import Lead, Point, Precision
from routing.member import Member, Roster
from routing.policy import Policy
from routing.simulation.past import MemberFacts, Past, PastLead, PastRoster, us
from storage.postgres.past import PastReader
from workers.rows import BadRow, LeadRow, MemberInput, read_leads, read_members

#: A simulation holds its leads in memory.
MOST_LEADS = 2_000_000
#: Versions are numbered in 32 bits.
LAST_VERSION = 2**31 - 1


def in_order(since: datetime | None, until: datetime | None) -> None:
    """Raises BadInput when the one is not before the other."""
    if since and until and since >= until:
        raise BadInput(
            f"{since:%Y-%m-%d %H:%M} is not before {until:%Y-%m-%d %H:%M} UTC", field="--from", fix="Swap the two."
        )


def stretch(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """From when to when, by the ledger's clock: the last thirty days where nothing is said. Raises BadInput."""
    now = wiring.leads().clock()
    end = min(until or now, now)
    begin = since or end - timedelta(days=30)
    if begin >= now:
        raise BadInput(f"{begin:%Y-%m-%d %H:%M} has not come yet", field="--from", fix="Give a time that is past.")
    in_order(begin, end)
    return begin, end


def of_ledger(since: datetime, until: datetime, progress: Callable[[str], object]) -> Past:
    """What the ledger knows of this time."""
    return PastReader(wiring.engine(), wiring.ledger().policy).read(since, until, progress)


def is_file(ref: str) -> bool:
    """Whether it names a file: neither `live` nor a version."""
    return ref != "live" and not ref.isdecimal()


def policy_of_file(ref: str, *, ledger: bool = True) -> Policy:
    """A draft in a file. Raises BadInput when it is none."""
    if not is_file(ref):
        raise BadInput(f"{ref!r} is in a ledger", field="policy", fix="With --leads, name a policy file.")
    document = policy_file.load_file(Path(ref))
    return wiring.parse_policy(document, 0) if ledger else policy_file.parse(document, 0)


def policy_of(ref: str) -> Policy:
    """A draft in a file, or a version of the ledger. Raises BadInput when there is no such."""
    return policy_of_file(ref) if is_file(ref) else _policy_of_version(ref)


def _policy_of_version(ref: str) -> Policy:
    version = min(int(ref), LAST_VERSION)
    if wiring.policies().get(version) is None:
        raise BadInput(f"there is no version {ref}", field="policy", fix="`fairturn policy history` lists them.")
    return wiring.ledger().policy(version)


def writable(file: Path | None) -> None:
    """Raises BadInput for a file that cannot be written: before the work, not after it."""
    if file is None or str(file) == "-":
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInput(f"{file} cannot be written", field="output", fix="Name a file in a directory that exists.")


def of_files(leads: Path, members: Path, policy: Policy, since: datetime | None, until: datetime | None) -> Past:
    """Leads and members of two CSV files; rows that cannot be used are left out and counted."""
    known = Offline(directory=settings.load().places())
    rosters, facts, refused = _rosters(members, policy, known)
    found, more = _leads(leads, known, policy)
    if not found:
        raise BadInput("no lead of it can be used", field="--leads", fix="Give lead_id, received_at and lat, lon.")
    begin = since or min(one.lead.received_at for one in found)
    end = until or max(one.lead.received_at for one in found) + timedelta(days=7)
    if begin >= end:
        raise BadInput("the time is empty", field="--from", fix="Swap the two.")
    inside = [one for one in found if begin <= one.lead.received_at < end]
    if not inside:
        raise BadInput("no lead came in within this time", field="--from", fix="Give a time that the file covers.")
    notes = [
        f"{n:,} rows of {name} could not be used." for name, n in ((leads.name, more), (members.name, refused)) if n
    ]
    return Past(us(begin), us(end), sorted(inside, key=_by_arrival), rosters, (), facts, notes=notes)


def _rosters(file: Path, policy: Policy, known: Offline) -> tuple[list[PastRoster], dict[int, MemberFacts], int]:
    by_market: dict[str, list[Member]] = {}
    facts: dict[int, MemberFacts] = {}
    refused = 0
    for row in read_members(file, tiers=policy.tiers):
        made = None if isinstance(row, BadRow) else _member(row, len(facts) + 1, policy, known)
        if made is None:
            refused += 1
            continue
        by_market.setdefault(made.market, []).append(made)
        zone = str(made.attributes.get("timezone", ""))
        facts[made.id] = MemberFacts(made.id, made.key, made.name, made.market, made.tier, zone)
    if not facts:
        raise BadInput("no member of it can be used", field="--members", fix="Give partner_id and lat, lon.")
    return [PastRoster(0, Roster(market, 1, its)) for market, its in by_market.items()], facts, refused


def _member(row: MemberInput, number: int, policy: Policy, known: Offline) -> Member | None:
    found = [known.find(address) for address in row.unplaced]
    places = (*row.row.places, *(at.point for at in found if at is not None))
    pool = policy.pool_for(row.row.country)
    if not places or pool is None:
        return None
    return Member(
        number,
        row.row.key,
        row.row.name,
        pool.market,
        row.row.tier,
        places,
        row.row.capacity,
        row.row.weight,
        row.row.active is not False,
        row.row.country,
        dict[str, object](row.row.attributes),
    )


def _leads(file: Path, known: Offline, policy: Policy) -> tuple[list[PastLead], int]:
    found: list[PastLead] = []
    refused = 0
    for row in read_leads(file):
        made = None if isinstance(row, BadRow) else _lead(row, len(found) + 1, known, policy)
        if made is None:
            refused += 1
            continue
        found.append(made)
        if len(found) > MOST_LEADS:
            raise BadInput(f"more than {MOST_LEADS:,} leads", field="--leads", fix="Simulate a part of them.")
    return found, refused


def _lead(row: LeadRow, number: int, known: Offline, policy: Policy) -> PastLead | None:
    located = None if row.place is not None else known.find(row.address)
    point: Point | None = row.place or (located.point if located else None)
    country = row.address.country or ("US" if policy.pool_for("US") else "")
    if point is None or row.received_at is None or policy.pool_for(country) is None:
        return None
    own: dict[str, object] = {f"lead.{name}": value for name, value in row.attributes.items()}
    facts = own | {
        "lead.region": row.address.state,
        "lead.city": row.address.city,
        "lead.postal_code": row.address.postal_code,
        "lead.source": row.source,
        "lead.owner": "",
    }
    lead = Lead(
        number,
        row.received_at,
        country,
        point,
        located.precision if located else Precision.EXACT,
        row.priority,
        facts=facts,
    )
    return PastLead(lead, row.source_id, row.address.postal_code, row.address.state)


def _by_arrival(one: PastLead) -> tuple[datetime, int]:
    return one.lead.received_at, one.lead.id

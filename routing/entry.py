"""Which leads are ours at all (row M4), and which changes in Salesforce make rules look again; asked at the door."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from routing.admission import Holds
from routing.change import Change
from routing.intake import Folded, Meaning, Read, Sheet
from routing.lane import Lane
from routing.lead import LeadState, Precision, Reason
from routing.policy import Policy

#: Waiting leads that rules sent there, and those that only wait for a place, are looked at again when facts change.
LOOKED_AT_AGAIN = frozenset(
    {Reason.NO_ROOM, Reason.NO_PARTNER_IN_RANGE, Reason.NOBODY_FITS, Reason.MISSING_FACTS, Reason.QUARANTINED}
    | {Reason.RULED, Reason.OVERFLOW}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What makes a lead ours: an owner (a queue, mostly), or a condition; with both either is enough."""

    queues: frozenset[str] = frozenset()  # ids, of which the first 15 characters count
    when: Holds | None = None

    def lets_in(self, sheet: Sheet) -> bool:
        """Whether a lead as Salesforce tells it is ours."""
        if (sheet.owner_id or "")[:15] in {queue[:15] for queue in self.queues}:
            return True
        return self.when is not None and self.when.holds(facts_of(sheet))


def facts_of(sheet: Sheet) -> dict[str, object]:
    """What rules may ask of a lead, as far as its sheet says it."""
    facts: dict[str, object] = {f"lead.{name}": value for name, value in sheet.attributes.items()}
    facts |= {
        "lead.country": sheet.country,
        "lead.region": sheet.state_name,
        "lead.city": sheet.city,
        "lead.postal_code": sheet.postal_code,
        "lead.source": sheet.source,
        "lead.owner": sheet.owner_id or "",
        "lead.priority": sheet.priority,
        "lead.hot": sheet.lane is Lane.HOT,
        "lead.received_at": sheet.received_at,
        "lead.attempt": 1,
        "lead.moves": 0,
    }
    if sheet.place is not None:
        facts |= {"lead.latitude": sheet.place.lat, "lead.longitude": sheet.place.lon}
        facts["lead.precision"] = str(Precision.EXACT)
    return facts


@dataclass(frozen=True, slots=True)
class Reroute:
    """Which changes in Salesforce have a lead routed again; all others change nothing but what is known of it."""

    facts: frozenset[str]  # such as lead.product
    takes_back: bool = False  # also an offer that nobody has answered yet


@dataclass(frozen=True, slots=True)
class Door:
    """What the published policy wants at the door."""

    entry: Entry | None = None
    has_rules: bool = False  # a change of facts may send a lead elsewhere
    reroute: Reroute | None = None  # None: any fact may, as long as no offer is out

    @classmethod
    def of(cls, policy: Policy) -> "Door":
        """The door of a policy."""
        return cls(policy.entry, policy.asks_leads, policy.reroute)

    @property
    def is_open(self) -> bool:
        """Whether it has nothing to say."""
        return self.entry is None and not self.has_rules and self.reroute is None


def at_the_door(read: Read, door: Callable[[], Door]) -> Read:
    """Read changes as `read` does, and then ask the policy: who is not ours goes no further."""

    def reading(change: Change, known: Sheet | None) -> Folded:
        folded = read(change, known)
        wants, sheet = door(), folded.sheet
        if wants.is_open or sheet is None or folded.withdrawn:
            return folded
        if known is not None and _is_out(known) and folded.asked is not None:
            folded = replace(folded, meaning=Meaning.UPDATED, asked=None)  # whoever owns it, it is none of ours
        if folded.meaning is Meaning.NEW:
            return _entered(folded, sheet, known, wants)
        if known is not None and folded.meaning is Meaning.UPDATED and not sheet.dirty:
            return _changed(folded, sheet, known, wants)
        return folded

    return reading


def _entered(folded: Folded, sheet: Sheet, known: Sheet | None, wants: Door) -> Folded:
    """A lead that begins; one that was let in before stays so, as its owner is changed by ourselves."""
    if wants.entry is None or (known is not None and not _is_nothing(known)) or wants.entry.lets_in(sheet):
        return folded
    return Folded(Meaning.NOT_OURS, replace(sheet, state=LeadState.WITHDRAWN, reason=Reason.NOT_OURS, place=None))


def _is_nothing(known: Sheet) -> bool:
    """Whether nobody has let it in yet: nothing is known but that it exists, or that it is not ours, or is gone."""
    return known.state is LeadState.WITHDRAWN or (known.dirty and known.state is LeadState.NEW and known.place is None)


def _is_out(sheet: Sheet) -> bool:
    return sheet.state is LeadState.WITHDRAWN and sheet.reason is Reason.NOT_OURS


def _changed(folded: Folded, sheet: Sheet, known: Sheet, wants: Door) -> Folded:
    changed = _other_facts(sheet, known)
    if not changed:
        return folded
    named = wants.reroute is None or not changed.isdisjoint(wants.reroute.facts)
    if _is_out(sheet):
        return _let_in(folded, sheet, known, wants.entry, named=named)
    if sheet.state is LeadState.OFFERED:
        return _taken_back(folded, sheet, known) if named and wants.reroute and wants.reroute.takes_back else folded
    if sheet.reason is Reason.HELD:
        looks = named and wants.reroute is not None  # else it stays until somebody distributes it
    else:
        looks = sheet.reason in LOOKED_AT_AGAIN and (named or sheet.reason is Reason.MISSING_FACTS)
    if looks and (wants.has_rules or wants.reroute is not None):
        return Folded(Meaning.RULED_AGAIN, replace(sheet, state=LeadState.NEW, reason=None))
    return folded


def _let_in(folded: Folded, sheet: Sheet, known: Sheet, entry: Entry | None, *, named: bool) -> Folded:
    """A lead that was left alone, by the entry or by a rule: whether it is ours now."""
    if entry is not None and (not entry.lets_in(sheet) or (not named and entry.lets_in(known))):
        return folded
    if entry is None and not named:
        return folded
    return Folded(Meaning.NEW, replace(sheet, state=LeadState.NEW, reason=None, place=sheet.place or sheet.told))


def _taken_back(folded: Folded, sheet: Sheet, known: Sheet) -> Folded:
    """To be routed again from where it is now: coordinates of before belong to the address of before."""
    if _address(sheet) != _address(known) or sheet.told != known.told:
        sheet = replace(sheet, place=sheet.told if sheet.told != known.told else None)
    return replace(folded, meaning=Meaning.REROUTED, sheet=sheet)


def _address(sheet: Sheet) -> tuple[str, ...]:
    return sheet.street, sheet.city, sheet.state_name, sheet.postal_code, sheet.country


def _other_facts(sheet: Sheet, known: Sheet) -> frozenset[str]:
    """The names of the facts that are not what they were."""
    now, before = facts_of(sheet), facts_of(known)
    names = (now.keys() | before.keys()) - {"lead.received_at"}
    return frozenset(name for name in names if now.get(name) != before.get(name))

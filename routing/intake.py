"""What a change in Salesforce means for a lead, and what the lead looks like afterwards. No I/O."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter

from routing.change import MISSING, Change
from routing.errors import BadInput
from routing.lane import Lane
from routing.lead import LeadState, Point, Reason
from routing.priority import MOST

ADDRESS = ("street", "city", "state", "postal_code", "country")
CONTACT = ("name", "company", "email", "phone", "street")
PLACE = ("lat", "lon")
#: A lead in review for one of these is looked at again when it brings coordinates.
ABOUT_THE_PLACE = frozenset({Reason.BAD_COORDINATES, Reason.NO_ADDRESS, Reason.UNKNOWN_PLACE, Reason.IMPRECISE_PLACE})
#: SystemModstamp is when a row was written, an event's time is when its transaction ended: so far apart they may be.
TOO_NEAR = timedelta(minutes=1)


class Meaning(StrEnum):
    """What intake made of one event."""

    NEW = "new"  # a lead to place and route
    MOVED = "moved"  # its address changed before it was offered: place and route it again
    UPDATED = "updated"  # fields kept, nothing to do
    RULED_AGAIN = "ruled_again"  # what rules ask has changed before it was offered: they look again
    REROUTED = "rerouted"  # it changed while an offer was out, which the policy then takes back
    NOT_OURS = "not_ours"  # the policy leaves it alone: kept, and nothing is written
    WITHDRAW = "withdraw"  # gone or converted: its offer ends
    ASKED = "asked"  # a person gave it to somebody, or set its status
    ECHO = "echo"  # our own write coming back
    STALE = "stale"  # older than what we have
    DIRTY = "dirty"  # the event does not say enough: read the record again
    RESYNC = "resync"  # the event does not say which records: compare all that changed
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A lead as the ledger keeps it on the stream's side."""

    salesforce_id: str
    received_at: datetime
    id: int | None = None
    state: LeadState = LeadState.NEW
    reason: Reason | None = None
    version: int = 0
    commit_number: int = 0
    sequence_number: int = 0
    snapshot_at: datetime | None = None
    changed_at: datetime | None = None
    dirty: bool = False
    owner_id: str | None = None
    stage: str = ""  # what the lead's own Status was last known to stand for
    source_id: str | None = None
    source: str = ""
    priority: int = 0
    lane: Lane = Lane.LIVE
    street: str = ""
    city: str = ""
    state_name: str = ""
    postal_code: str = ""
    country: str = ""
    name: str = ""
    company: str = ""
    email: str = ""
    phone: str = ""
    place: Point | None = None
    told: Point | None = None  # the coordinates Salesforce told last: heard again, they are no news
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for by editing a lead in Salesforce; whether it is done depends on where the lead stands."""

    at: datetime  # when Salesforce committed it
    owner: str | None = None  # its new owner: a user, a queue or, by the partner lookup, an account
    partner: str | None = None  # what the partner lookup shows; "" when it was emptied
    status: str | None = None  # our status, as it was written there
    reason: str | None = None  # the offer's reason, written with it
    stage: str | None = None  # what its own Status stands for, by the mapping
    version: int | None = None  # of ours that the record shows; None: it is not said
    by_rest: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """One event read into one lead."""

    meaning: Meaning
    sheet: Sheet | None
    withdrawn: Reason | None = None
    asked: Asked | None = None


@dataclass(slots=True)
class Taken:
    """What intake left to do, as lead ids."""

    to_locate: list[int] = field(default_factory=list)
    to_route: list[int] = field(default_factory=list)
    dirty: list[int] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    review: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # given away or edited by a person
    meanings: dict[str, int] = field(default_factory=dict)
    resync_since: datetime | None = None
    lanes: dict[int, Lane] = field(default_factory=dict)  # of the leads that do not go by the live lane

    def add(self, other: "Taken") -> None:
        """Put what another reading left to do beside this."""
        self.to_locate += other.to_locate
        self.to_route += other.to_route
        self.dirty += other.dirty
        self.withdrawn += other.withdrawn
        self.review += other.review
        self.asked += other.asked
        for meaning, number in other.meanings.items():
            self.meanings[meaning] = self.meanings.get(meaning, 0) + number
        self.lanes |= other.lanes
        asked = [since for since in (self.resync_since, other.resync_since) if since is not None]
        self.resync_since = min(asked, default=None)


Read = Callable[[Change, Sheet | None], Folded]


def fold(
    known: Sheet | None,
    change: Change,
    fields: Mapping[str, object],
    *,
    ours: bool,
    alpha2: Callable[[str], str | None],
    by_us: bool = False,
    partial: bool = False,
    geocoded: bool = False,
) -> Folded:
    """Read one change into what is known of its lead. `fields` are ours by name; only those the change carries.

    `ours` says that the change is nothing but our own write coming back, `by_us` that our write is in it, with what
    the org's automation did besides; `partial` that it carries half of what means something only whole, such as a
    latitude without its longitude, `geocoded` that nothing but Salesforce's own geocoding spoke, which it does a
    second after most writes: a lead that has a place keeps it.
    """
    kind = change.change_type
    if "*" in change.record_id or kind == "GAP_OVERFLOW":
        return Folded(Meaning.RESYNC, None)
    if known is not None and _is_stale(known, change):
        return Folded(Meaning.STALE, None)
    if known is not None and _is_overtaken(known, change):
        return _dirty(known, change)
    if kind in {"DELETE", "GAP_DELETE", MISSING}:
        return _withdraw(known, change, Reason.DELETED)
    if kind.startswith("GAP_") or (kind == "UPDATE" and (known is None or partial)):
        return _dirty(known, change)
    if ours:
        return Folded(Meaning.ECHO, _with(known, _stamps(known, change) | _owner(fields)) if known else None)
    if known is not None and known.dirty and kind == "UPDATE":
        return _dirty(known, change)
    if geocoded and known is not None and known.place is not None:
        return Folded(Meaning.NOTHING, _with(known, _stamps(known, change) | {"told": _told(fields)}))
    folded = _read(known, change, _with_code(fields, alpha2), alpha2)
    if known is None or folded.meaning in {Meaning.NEW, Meaning.WITHDRAW}:
        return folded
    asked = _asked(known, change, fields, by_us=by_us)
    return replace(folded, meaning=Meaning.ASKED, asked=asked) if asked else folded


def _asked(known: Sheet, change: Change, fields: Mapping[str, object], *, by_us: bool) -> Asked | None:
    """What a person asks for, if anything.

    An event names what was changed; a record read by REST shows all, so what it shows is news only where it differs
    from what we know, and our own fields only while they show our present version: a newer one is on its way. A change
    of the version is ours, whoever seems to have made it.
    """
    by_rest, version = change.by_rest, fields.get("shown_version")
    if not by_rest and (by_us or version is not None):
        return None
    owner = _text(fields.get("owner_id")) or None
    given = owner and known.owner_id and owner != known.owner_id and not fields.get("owner_is_nobody")
    asked: dict[str, str | None] = {"owner": owner if given else None}
    stage = _text(fields.get("stage"))
    asked["stage"] = stage if stage and stage != known.stage else None
    if not by_rest or version == known.version:
        asked |= {name: _text(fields[f"shown_{name}"]) for name in ("partner", "status") if f"shown_{name}" in fields}
        asked["reason"] = _text(fields.get("shown_reason")) or None
    if by_rest and asked.get("status") == known.state:
        asked["status"] = None
    if all(asked.get(name) is None for name in ("owner", "partner", "status", "stage")):
        return None
    shown = version if isinstance(version, int) else None
    return Asked(change.committed_at, version=shown, by_rest=by_rest, **asked)


def _owner(fields: Mapping[str, object]) -> dict[str, object]:
    return {"owner_id": _text(fields["owner_id"])} if fields.get("owner_id") else {}


def _read(
    known: Sheet | None, change: Change, fields: Mapping[str, object], alpha2: Callable[[str], str | None]
) -> Folded:
    """What a change says, kept with what is known, and what it means."""
    base = known or Sheet(change.record_id, change.committed_at, lane=change.lane)
    news = _news(base, change, fields)
    if fields.get("is_converted"):
        return _withdraw(_with(base, news), change, Reason.CONVERTED)
    if known is None or _is_stub(known) or _is_back(known, change):
        return Folded(Meaning.NEW, _with(base, news | _placed(base, news, fields, alpha2)))
    return _what_now(known, news, fields, alpha2)


def fold_late(known: Sheet, change: Change) -> Folded | None:
    """What to make of a record that was asked for before its lead last changed here; None: read it as any other.

    What Salesforce says of it is older than what we know, or newer, or too near to tell: then it is read again.
    """
    if change.change_type == MISSING or known.changed_at is None:
        return Folded(Meaning.DIRTY, replace(known, dirty=True))
    if change.committed_at > known.changed_at:
        return None
    near = known.changed_at - change.committed_at < TOO_NEAR
    return Folded(Meaning.DIRTY, replace(known, dirty=True)) if near else Folded(Meaning.STALE, None)


def _with_code(fields: Mapping[str, object], alpha2: Callable[[str], str | None]) -> Mapping[str, object]:
    """The fields with the country as its code where it is one we know, so that spelling is no move."""
    text = _text(fields.get("country"))
    code = alpha2(text) if text else None
    return {**fields, "country": code} if code and code != text else fields


def _is_stale(known: Sheet, change: Change) -> bool:
    if change.change_type == MISSING:
        return False
    if known.snapshot_at is not None and change.committed_at < known.snapshot_at:
        return True
    if change.by_rest:
        return False
    buried = known.state is LeadState.WITHDRAWN and known.reason is Reason.DELETED and not known.dirty
    return _order(change) == _order(known) > (0, 0) or (buried and _is_overtaken(known, change))


def _is_overtaken(known: Sheet, change: Change) -> bool:
    """Whether a later event was read first: this one's fields are missing, and it may not overwrite the later one's."""
    return not change.by_rest and (0, 0) < _order(change) < _order(known)


def _order(one: Sheet | Change) -> tuple[int, int]:
    return one.commit_number, one.sequence_number


def _stamp(sheet: Sheet, change: Change) -> Sheet:
    return _with(sheet, _stamps(sheet, change))


def _stamps(sheet: Sheet, change: Change) -> dict[str, object]:
    if change.change_type == MISSING:  # when it went nobody knows
        return {"dirty": False}
    at = max(sheet.changed_at or change.committed_at, change.committed_at)
    if change.by_rest:
        return {"snapshot_at": change.committed_at, "changed_at": at, "dirty": False}
    commit_number, sequence_number = max(_order(sheet), _order(change))
    return {"commit_number": commit_number, "sequence_number": sequence_number, "changed_at": at}


def _with(sheet: Sheet, news: Mapping[str, object]) -> Sheet:
    """What `dataclasses.replace` does, in half its time."""
    return Sheet(**{**dict(zip(_FIELDS, _values_of(sheet), strict=True)), **news})


def _dirty(known: Sheet | None, change: Change) -> Folded:
    base = known or Sheet(change.record_id, change.committed_at, lane=change.lane)
    return Folded(Meaning.DIRTY, replace(_stamp(base, change), dirty=True))


def _withdraw(known: Sheet | None, change: Change, reason: Reason) -> Folded:
    if known is None:
        return Folded(Meaning.NOTHING, None if change.by_rest else _tombstone(change))
    gone = replace(_stamp(known, change), dirty=False)
    if known.state in {LeadState.WITHDRAWN, LeadState.DONE}:
        return Folded(Meaning.NOTHING, gone)
    return Folded(Meaning.WITHDRAW, gone, reason)


def _tombstone(change: Change) -> Sheet:
    """A lead that was deleted before its creation was read: kept, so that the creation is known to be stale."""
    sheet = Sheet(change.record_id, change.committed_at, state=LeadState.WITHDRAWN, reason=Reason.DELETED)
    return _stamp(sheet, change)


def _news(sheet: Sheet, change: Change, fields: Mapping[str, object]) -> dict[str, object]:
    """What the change says of the lead, under the sheet's names."""
    more = _stamps(sheet, change)
    more |= {name: _text(fields[key]) for key, name in _TEXTS if key in fields}
    if change.lane is Lane.HOT:
        more["lane"] = Lane.HOT
    if "source_id" in fields:
        more["source_id"] = _text(fields["source_id"]) or None
    if "owner_id" in fields:
        more["owner_id"] = _text(fields["owner_id"]) or None
    if "stage" in fields:
        more["stage"] = _text(fields["stage"])
    if "priority" in fields:
        more["priority"] = _whole(fields["priority"])
    if all(name in fields for name in PLACE):
        more["told"] = _told(fields)
    extra = fields.get("attributes")
    if isinstance(extra, Mapping):
        more["attributes"] = {**sheet.attributes, **extra}
    return more


def _what_now(
    known: Sheet, news: dict[str, object], fields: Mapping[str, object], alpha2: Callable[[str], str | None]
) -> Folded:
    sheet = _with(known, news)
    if not _is_elsewhere(known, sheet, fields):
        return Folded(Meaning.UPDATED if _says_more(sheet, known) else Meaning.NOTHING, sheet)
    if sheet.state not in {LeadState.NEW, LeadState.WAITING, LeadState.REVIEW}:
        return Folded(Meaning.UPDATED, sheet)
    if sheet.told == known.told:  # coordinates heard again belong to the address of before
        fields = {name: value for name, value in fields.items() if name not in PLACE}
    return Folded(Meaning.MOVED, _with(sheet, _placed(sheet, {}, fields, alpha2)))


def _is_stub(known: Sheet) -> bool:
    """Whether nothing is known yet but that the lead exists."""
    return known.dirty and known.state is LeadState.NEW and known.place is None


def _is_back(known: Sheet, change: Change) -> bool:
    """Whether a deleted lead was restored; an edit of a converted one brings nothing back."""
    deleted = known.state is LeadState.WITHDRAWN and known.reason is Reason.DELETED
    return deleted and change.change_type in {"UNDELETE", "SNAPSHOT"}


def _is_elsewhere(known: Sheet, sheet: Sheet, fields: Mapping[str, object]) -> bool:
    """Whether the lead's address or its own coordinates changed."""
    if _address(known) != _address(sheet):
        return True
    if any(fields.get(name) is None for name in PLACE):
        return False
    if known.state is LeadState.REVIEW and known.reason not in ABOUT_THE_PLACE:
        return False
    try:
        return _point(fields) not in {known.told, known.place}
    except BadInput:
        return known.reason is not Reason.BAD_COORDINATES


def _says_more(sheet: Sheet, known: Sheet) -> bool:
    stamps = {
        "commit_number": 0,
        "sequence_number": 0,
        "snapshot_at": None,
        "changed_at": None,
        "dirty": False,
        "told": None,
    }
    return replace(sheet, **stamps) != replace(known, **stamps)  # type: ignore[arg-type]  # a dict of fields


def _address(sheet: Sheet) -> dict[str, str]:
    return {k: getattr(sheet, "state_name" if k == "state" else k) for k in ADDRESS}


def _placed(
    sheet: Sheet, news: Mapping[str, object], fields: Mapping[str, object], alpha2: Callable[[str], str | None]
) -> dict[str, object]:
    """A lead that starts anew: with a known country and, where it brings coordinates, a place; else why not."""
    country = str(news.get("country", sheet.country))
    code = alpha2(country) if country else ""
    if code is None:
        return _in_review(Reason.UNKNOWN_COUNTRY)
    try:
        point = _point(fields)
    except BadInput:
        return _in_review(Reason.BAD_COORDINATES) | {"country": code}
    if point is None and not any(news.get(name, getattr(sheet, name)) for name in ("street", "city", "postal_code")):
        return _in_review(Reason.NO_ADDRESS) | {"country": code}
    return {"state": LeadState.NEW, "reason": None, "place": point, "country": code}


def _in_review(reason: Reason) -> dict[str, object]:
    return {"state": LeadState.REVIEW, "reason": reason, "place": None}


def _point(fields: Mapping[str, object]) -> Point | None:
    lat, lon = fields.get("lat"), fields.get("lon")
    if lat is None or lon is None:
        return None
    return Point(_number(lat, "latitude"), _number(lon, "longitude"))


def _told(fields: Mapping[str, object]) -> Point | None:
    try:
        return _point(fields)
    except BadInput:
        return None


def _number(value: object, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever Salesforce sent; refused below when it is no number
    except (TypeError, ValueError, OverflowError) as exc:
        raise BadInput(f"{str(value)[:40]!r} is not a number", field=name, fix="Give decimal degrees.") from exc


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _whole(value: object) -> int:
    try:
        number = float(value)  # type: ignore[arg-type]  # as above: a priority that is no number counts as none
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(max(-MOST, min(MOST, number))) if math.isfinite(number) else 0


_SAYS_NOTHING: Mapping[str, object] = {
    "commit_number": 0,
    "sequence_number": 0,
    "snapshot_at": None,
    "changed_at": None,
    "dirty": False,
    "told": None,
}
#: Texts of a lead, by the name of the field and of the sheet's.
_TEXTS = tuple((k, "state_name" if k == "state" else k) for k in dict.fromkeys((*CONTACT, *ADDRESS, "source")))
_FIELDS = tuple(each.name for each in dataclass_fields(Sheet))
_values_of = attrgetter(*_FIELDS)

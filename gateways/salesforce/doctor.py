"""What is missing in the org, each with how to make it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.proto.pubsub_api_pb2 import TopicInfo
from gateways.salesforce.rest import FieldInfo, Salesforce
from routing.errors import FairturnError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a field must be able to hold, and how Setup calls such a field."""

    types: frozenset[str]
    setup: str  # how to create it
    length: int = 0  # texts: characters
    digits: int = 0  # numbers: digits before the point
    scale: int = 0  # numbers: digits after it
    external_id: bool = False


class Topic(Protocol):
    """The stream's side."""

    def topic(self) -> TopicInfo: ...


_TEXT = frozenset({"string", "textarea", "picklist", "combobox", "phone", "email", "url"})
_LONG = frozenset({"textarea", "string"})
_NUMBER = frozenset({"double", "int", "currency", "percent"})
_TIME = frozenset({"datetime"})
_REFERENCE = frozenset({"reference"})
_CHECKBOX = frozenset({"boolean"})
_ANY = frozenset[str]()
#: The rule by which versions never fall; the Salesforce source beside this file has it.
RULE = "Fairturn_Version_Never_Falls"
SOURCE = "gateways/salesforce/org"

WRITTEN: Mapping[str, Wanted] = {
    "partner": Wanted(_REFERENCE, "Lookup Relationship to Account"),
    "owner": Wanted(_REFERENCE, "the standard field Owner"),
    "partner_key": Wanted(_TEXT, "Text, length 80", length=80),
    "status": Wanted(_TEXT, "Text, length 40", length=40),
    "reason": Wanted(_TEXT, "Text, length 255", length=255),
    "distance_miles": Wanted(_NUMBER, "Number, length 7, decimal places 2", digits=5, scale=2),
    "ring_miles": Wanted(_NUMBER, "Number, length 7, decimal places 2", digits=5, scale=2),
    "attempt": Wanted(_NUMBER, "Number, length 3, decimal places 0", digits=3),
    "policy_version": Wanted(_NUMBER, "Number, length 9, decimal places 0", digits=9),
    "version": Wanted(_NUMBER, "Number, length 18, decimal places 0", digits=15),
    "offered_at": Wanted(_TIME, "Date/Time"),
    "expires_at": Wanted(_TIME, "Date/Time"),
    "answered_at": Wanted(_TIME, "Date/Time"),
    "accepted_at": Wanted(_TIME, "Date/Time"),
    "ended_at": Wanted(_TIME, "Date/Time"),
    "outcome": Wanted(_TEXT, "Text, length 40", length=40),
    "offer_reason": Wanted(_TEXT, "Text, length 255", length=255),
    "offers": Wanted(_NUMBER, "Number, length 3, decimal places 0", digits=3),
}
OFFER: Mapping[str, Wanted] = {
    "key": Wanted(_TEXT, "Text, length 36, External ID, Unique", length=36, external_id=True),
    "lead": Wanted(_REFERENCE, "Lookup Relationship to Lead"),
    "partner": Wanted(_REFERENCE, "Lookup Relationship to Account"),
    "state": Wanted(_TEXT, "Text, length 40", length=40),
    "kind": Wanted(_TEXT, "Text, length 40", length=40),
    **{
        name: WRITTEN[name]
        for name in ("partner_key", "reason", "attempt", "distance_miles", "ring_miles", "policy_version", "version")
    },
    **{
        name: Wanted(_TIME, "Date/Time")
        for name in ("offered_at", "expires_at", "answered_at", "accepted_at", "ended_at")
    },
}
MEMBERS: Mapping[str, str] = {"user": "User", "account": "Account"}
READ: Mapping[str, Wanted] = {
    "source_id": Wanted(_TEXT, "Text, length 255, External ID"),
    "priority": Wanted(_NUMBER, "Number, length 9, decimal places 0"),
    "attributes": Wanted(_LONG, "Text Area (Long), length 32768"),
    "lat": Wanted(_NUMBER, "Number, length 3, decimal places 15"),
    "lon": Wanted(_NUMBER, "Number, length 3, decimal places 15"),
}
_RIGHTS = {"queryable": "Read", "createable": "Create", "updateable": "Edit"}
_SOME = Wanted(_ANY, "the type of the value you want to keep")


def check(
    salesforce: Salesforce, mapping: FieldMap, topic: Topic | None = None, *, offers: bool = False
) -> list[Finding]:
    """Look at everything the subscriber and the outbox need; never raises, a failure is a finding.

    `offers`: each offer is to have a record of its own.
    """
    login = _look("login", lambda: f"logged in to org {salesforce.whoami().org_id}")
    if not login.ok:
        return [login]
    findings = [login]
    if topic is not None:
        findings.append(_look("change data capture", lambda: f"{topic.topic().topic_name} can be subscribed to"))
    findings += _object(salesforce, mapping.record_type, ("queryable", "updateable"), partial(_fields, mapping=mapping))
    findings += _members(salesforce, mapping)
    if offers:
        may = ("queryable", "createable", "updateable")
        findings += _object(salesforce, mapping.offer["object"], may, partial(_offer_fields, mapping=mapping))
    return [*findings, *_limits(salesforce)]


def _object(
    salesforce: Salesforce,
    name: str,
    may: Sequence[str],
    fields: Callable[[Mapping[str, FieldInfo]], Iterator[Finding]],
) -> Iterator[Finding]:
    """What we may do with an object, its fields, and its rule."""
    try:
        known, allowed = salesforce.describe(name), salesforce.allowed(name)
    except FairturnError as exc:
        fix = f"Give the integration user Read on {name}; where it is missing, deploy {SOURCE}."
        yield Finding(f"{name} fields", ok=False, message=str(exc), fix=fix)
        return
    for what in may:
        if what not in allowed:
            yield Finding(
                f"{name} {what}",
                ok=False,
                message=f"The records of {name} are not {what} for us.",
                fix=f"Give the integration user the permission set Fairturn Integration, or {_RIGHTS[what]} on {name}.",
            )
    yield from fields(known)
    yield _rule(salesforce, name)


def _rule(salesforce: Salesforce, name: str) -> Finding:
    line = f"{name} validation rule"
    try:
        rules = salesforce.validation_rules(name)
    except FairturnError:
        return Finding(line, ok=True, message=f"{RULE} could not be looked at: that takes View Setup")
    if rules.get(RULE):
        return Finding(line, ok=True, message=f"{RULE} is active")
    state = "is not active" if RULE in rules else "is missing"
    fix = f"Setup > Object Manager > {name} > Validation Rules: make it active, as docs/salesforce.md shows it."
    return Finding(line, ok=False, message=f"{RULE} {state}: a late write may show an older decision.", fix=fix)


def _members(salesforce: Salesforce, mapping: FieldMap) -> Iterator[Finding]:
    """The fields that say whether members are in use."""
    for ours, name in mapping.activity.items():
        where = MEMBERS[ours]
        try:
            known = salesforce.describe(where)
        except FairturnError as exc:
            fix = f"Give the integration user Read on {where}, or switch the line members.{ours} off."
            yield Finding(f"{where}.{name}", ok=False, message=str(exc), fix=fix)
            continue
        wanted = Wanted(_CHECKBOX, "Checkbox, checked by default")
        found = _field(where, f"members.{ours}", name, wanted, known, write=False)
        yield replace(found, name=f"{where}.{name}")


def _offer_fields(known: Mapping[str, FieldInfo], *, mapping: FieldMap) -> Iterator[Finding]:
    for ours, name in mapping.offer.items():
        if ours != "object":
            found = _field(mapping.offer["object"], f"offer.{ours}", name, OFFER[ours], known, write=True)
            yield replace(found, name=f"{mapping.offer['object']}.{name}")


def _look(name: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(name, ok=True, message=ask())
    except FairturnError as exc:
        return Finding(name, ok=False, message=str(exc), fix="See docs/salesforce.md.")


def _fields(known: Mapping[str, FieldInfo], *, mapping: FieldMap) -> Iterator[Finding]:
    for ours, names in mapping.reads.items():
        # Of several fields that say the same, one is enough: an org has state codes or it has not.
        name = next((one for one in names if one in known), names[0])
        yield _field(mapping.record_type, f"read.{ours}", name, READ.get(ours, _SOME), known, write=False)
    for name in mapping.extras:
        yield _field(mapping.record_type, "attributes", name, _SOME, known, write=False)
    for ours, name in mapping.writes.items():
        yield _field(mapping.record_type, f"write.{ours}", name, WRITTEN[ours], known, write=True)


def _field(where: str, line: str, name: str, wanted: Wanted, known: Mapping[str, FieldInfo], *, write: bool) -> Finding:
    where = f"Setup > Object Manager > {where} > Fields & Relationships"
    if name not in known:
        make = f"{where} > New: {wanted.setup}, Field Name {name.removesuffix('__c')}; then give"
        return Finding(
            name,
            ok=False,
            message=f"The org has no field {name} that we may see ({line}).",
            fix=f"{make if name.endswith('__c') else 'Give'} the integration user"
            f" {'Read and Edit' if write else 'Read'} access to it. If it is there under another name, or not needed,"
            f" say so in the file of SALESFORCE_MAPPING_FILE. {SOURCE} has all of them to deploy.",
        )
    if trouble := _mismatch(known[name], wanted):
        return Finding(
            name, ok=False, message=f"{name} {trouble} ({line}).", fix=f"{where} > {name}: it must be {wanted.setup}."
        )
    if write and not known[name].updateable:
        return Finding(
            name,
            ok=False,
            message=f"We may not write {name} ({line}).",
            fix=f"{where} > {name} > Set Field-Level Security: give the integration user Edit access.",
        )
    return Finding(name, ok=True, message=f"{name} is ready ({line})")


def _mismatch(field: FieldInfo, wanted: Wanted) -> str:
    if wanted.types and field.type not in wanted.types:
        return f"is of type {field.type}"
    if field.length and field.length < wanted.length:
        return f"holds {field.length} characters only"
    if field.precision and field.precision - field.scale < wanted.digits:
        return f"holds {field.precision - field.scale} digits only"
    if wanted.external_id and not field.external_id:
        return "is no external id"
    if field.precision and field.scale < wanted.scale:
        return f"has {field.scale} decimal places only"
    return ""


def _limits(salesforce: Salesforce) -> Iterator[Finding]:
    try:
        limits = salesforce.limits()
    except FairturnError as exc:
        yield Finding("limits", ok=False, message=str(exc), fix="Give the integration user View Setup.")
        return
    for key, what in (("DailyApiRequests", "API calls"), ("DailyDeliveredPlatformEvents", "event deliveries")):
        if (limit := limits.get(key)) is None:
            continue
        left, most = limit["Remaining"], limit["Max"]
        yield Finding(
            key,
            ok=left * 10 > most or most == 0,
            message=f"{left} of {most} {what} are left today",
            fix=f"Fewer than a tenth are left: see Setup > Company Information for who uses the {what}.",
        )

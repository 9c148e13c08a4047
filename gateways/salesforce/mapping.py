"""The border between Salesforce's field names and ours, both ways, as a mapping file says."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gateways.salesforce import written
from gateways.salesforce.words import clean, clean_text, is_id, long_id
from routing.change import Change, OfferRecord, WriteBack
from routing.errors import BadInput

LONGEST_TEXT = 1_000  # of one of our own texts; the rest is cut
LONGEST_ID = 255  # what an external id can hold; a longer one is left out
DEEPEST = 30  # JSON within JSON, of an attribute
LONGEST_ATTRIBUTE = 32_768  # bytes; a longer one is left out
_SURELY_FITS = 5_000  # characters: JSON writes six bytes for one at most
LEFT_OUT = "_left_out"  # the attribute that says what was left out, and why

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_STAMPS = frozenset({"LastModifiedDate", "LastModifiedById", "SystemModstamp"})
_GEOCODE = frozenset({"Latitude", "Longitude", "GeocodeAccuracy"})
_TEXTS = ("source", "company", "email", "phone", "street", "city", "state", "postal_code", "country", "status")
_TOGETHER = (("first_name", "last_name"), ("lat", "lon"))  # two fields that mean something only together
#: What a person may ask for by a status, under the names it goes by.
ASKED: Mapping[str, str] = {
    **{
        word: word
        for word in ("accepted", "rejected", "completed", "lost", "returned", "withdrawn", "review", "waiting")
    },
    "done": "completed",
    "new": "waiting",
}
#: What we write and people may edit, and what it is called when it is read again.
_SHOWN = (("partner", "shown_partner"), ("status", "shown_status"), ("offer_reason", "shown_reason"))
_WHOLE_RECORD = "CreatedDate"  # an update never carries it; new records and snapshots always do


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Which Salesforce fields are which of ours."""

    record_type: str
    reads: Mapping[str, tuple[str, ...]]
    extras: tuple[str, ...]
    writes: Mapping[str, str]
    stages: Mapping[str, str] = field(default_factory=dict)  # values of the lead's own Status, what they stand for
    nobody: frozenset[str] = frozenset()  # owners who have no leads of their own
    offer: Mapping[str, str] = field(default_factory=dict)  # of an offer's own record, with its object and key
    activity: Mapping[str, str] = field(default_factory=dict)  # of user and account: the field that says it is in use
    _plain: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)  # reads of one field
    _several: tuple[tuple[str, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)
    _pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = tuple((name, fields[0]) for name, fields in self.reads.items() if len(fields) == 1)
        several = tuple((name, fields) for name, fields in self.reads.items() if len(fields) > 1)
        pairs = [(a, b) for a, b in _TOGETHER if a in self.reads and b in self.reads]
        object.__setattr__(self, "_plain", plain)
        object.__setattr__(self, "_several", several)
        object.__setattr__(self, "_pairs", tuple((self.reads[a], self.reads[b]) for a, b in pairs))

    @classmethod
    def load(cls, path: Path | None = None) -> "FieldMap":
        """The default mapping with the lines of this file put over it. Raises BadInput naming the line and the fix."""
        default = yaml.safe_load(resources.files(__package__).joinpath("mapping.yaml").read_text("utf-8"))
        changes = _file(path) if path else {}
        _known(changes, default, "")
        for part in ("read", "write", "members", "offer"):
            _known(changes.get(part) or {}, default[part], f"{part}.")
        return cls(
            record_type=_one("object", changes.get("object", default["object"])),
            reads={k: _some(f"read.{k}", v) for k, v in (default["read"] | (changes.get("read") or {})).items() if v},
            extras=_some("attributes", changes.get("attributes", default["attributes"])),
            writes=_apart("write", _lines("write", default, changes)),
            stages=_stages(changes.get("statuses") or {}),
            nobody=_ids("nobody", changes.get("nobody") or []),
            offer=_apart("offer", _lines("offer", default, changes)),
            activity=_lines("members", default, changes),
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every Salesforce field we read, each once."""
        return tuple(dict.fromkeys([name for names in self.reads.values() for name in names] + list(self.extras)))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every Salesforce field we write."""
        return tuple(self.writes.values())

    def fields_of(self, body: Mapping[str, object]) -> dict[str, object]:
        """Our names for the fields this body carries; None where it says that a field was emptied.

        Never raises: what cannot be used is left out, and the attribute `_left_out` says so.
        """
        notes: dict[str, str] = {}
        found = self._found(body)
        fields: dict[str, object] = {name: _text(found[name]) for name in _TEXTS if name in found}
        fields |= {name: found[name] for name in ("lat", "lon", "is_converted") if name in found}
        fields |= self._name(found, whole=_WHOLE_RECORD in body)
        if "source_id" in found:
            fields["source_id"] = _identity(found["source_id"], notes)
        if "owner_id" in found:
            fields["owner_id"] = long_id(_text(found["owner_id"]) or "") or None
            if fields["owner_id"] in self.nobody:
                fields["owner_is_nobody"] = True
        if "priority" in found:
            fields["priority"] = _whole(found["priority"], notes)
        if self.stages and "status" in found:
            fields["stage"] = self.stages.get(str(found["status"]).casefold(), "")
        attributes = self._attributes(found, body, notes)
        return fields | self._shown(body) | ({"attributes": attributes} if attributes else {})

    def says_too_little(self, body: Mapping[str, object]) -> bool:
        """Whether the body has only one of two fields that mean something together: a name's or a point's halves."""
        return _WHOLE_RECORD not in body and any(_carries(a, body) != _carries(b, body) for a, b in self._pairs)

    def _shown(self, body: Mapping[str, object]) -> dict[str, object]:
        """What the body says in fields that we write: somebody may have edited them."""
        shown: dict[str, object] = {
            name: body[self.writes[ours]] for ours, name in _SHOWN if ours in self.writes and self.writes[ours] in body
        }
        if not shown and self.writes.get("version") not in body:
            return shown
        if "shown_partner" in shown:
            shown["shown_partner"] = long_id(_text(shown["shown_partner"]) or "")
        if "shown_status" in shown:
            status = (_text(shown["shown_status"]) or "").strip().casefold()
            shown["shown_status"] = ASKED.get(status, status)
        return shown | {"shown_version": self.version_shown(body)}

    def is_ours(self, changed: Iterable[str]) -> bool:
        """Whether all of these changed fields are ones we write, so that it may be our own write coming back."""
        names = frozenset(changed)
        return bool(names - _STAMPS) and names <= _STAMPS | frozenset(self.outputs)

    def is_echo(self, change: Change, *, client_name: str, user_id: str = "") -> bool:
        """Whether this change is nothing but our own write coming back.

        A merged event may carry a person's edit besides ours, and collections may lose the client's name on the way,
        so both are asked: who wrote (name or user) and what.
        """
        by_us = self.is_by_us(change, client_name=client_name, user_id=user_id)
        return by_us and self.is_ours(change.changed)

    def is_by_us(self, change: Change, *, client_name: str, user_id: str = "") -> bool:
        """Whether this is a write of ours, perhaps with more that the org's own automation did upon it."""
        if change.change_type != "UPDATE":
            return False
        return client_of(change.origin) == client_name or (bool(user_id) and change.commit_user == long_id(user_id))

    def is_geocode(self, changed: Iterable[str]) -> bool:
        """Whether only coordinates changed: Salesforce's own geocoding writes them about a second later."""
        names = frozenset(changed)
        return bool(names) and names <= _GEOCODE

    def record(self, write: WriteBack) -> dict[str, object]:
        """The record that shows this lead's state; while nobody has the lead, the partner's fields are emptied."""
        return self.recorder()(write)

    def version_shown(self, body: Mapping[str, object]) -> int | None:
        """The version of ours that this record shows; None when it shows none."""
        shown = body.get(self.writes.get("version", ""))
        return int(shown) if isinstance(shown, int | float) else None

    def recorder(self) -> Callable[[WriteBack], dict[str, object]]:
        """What makes such records, for many of them: all that does not depend on the lead is done once."""
        attributes = {"type": self.record_type}
        owner_field = self.writes.get("owner")
        named = [(self.writes[ours], value_of) for ours, value_of in written.LEAD.items() if ours in self.writes]

        def record(write: WriteBack) -> dict[str, object]:
            made: dict[str, object] = {"attributes": attributes, "Id": write.salesforce_id}
            for name, value_of in named:
                made[name] = value_of(write)
            # An owner cannot be emptied, only replaced.
            if owner_field and (owner := written.owner(write.member_salesforce_id)):
                made[owner_field] = owner
            return made

        return record

    def offer_record(self, one: OfferRecord) -> dict[str, object]:
        """The record of this offer, by its external id."""
        made: dict[str, object] = {"attributes": {"type": self.offer["object"]}, self.offer["key"]: str(one.offer_id)}
        return made | {self.offer[ours]: value(one) for ours, value in written.OFFER.items() if ours in self.offer}

    def _found(self, body: Mapping[str, object]) -> dict[str, object]:
        """What the body says under our names; None where it says that there is nothing."""
        found = {name: None if body[of] == "" else body[of] for name, of in self._plain if of in body}
        for name, several in self._several:
            said = [body[of] for of in several if of in body]
            if said:
                found[name] = next((value for value in said if value not in (None, "")), None)
        return found

    def _name(self, found: Mapping[str, object], *, whole: bool) -> dict[str, object]:
        halves = [name for name in ("first_name", "last_name") if name in self.reads]
        if not any(half in found for half in halves):
            return {}
        if not whole and not all(half in found for half in halves):
            return {}
        name = " ".join(text for half in halves if (text := _text(found.get(half))))
        return {"name": name or None}

    def _attributes(
        self, found: Mapping[str, object], body: Mapping[str, object], notes: dict[str, str]
    ) -> dict[str, object]:
        attributes = _object(found["attributes"]) if found.get("attributes") is not None else {}
        attributes |= {name: body[name] for name in self.extras if name in body}
        kept = {key: value for key, value in attributes.items() if _fits(key, value, notes)}
        return kept | ({LEFT_OUT: notes} if notes else {})


def client_of(origin: str) -> str:
    """The client's name in a change origin such as com/salesforce/api/rest/64.0;client=Fairturn."""
    options = (part.strip().partition("=") for part in origin.split(";")[1:])
    return next((value.rstrip("/") for key, _, value in options if key == "client"), "")


def _carries(fields: Sequence[str], body: Mapping[str, object]) -> bool:
    return any(name in body for name in fields)


# --- reading values --------------------------------------------------------------------------------------------------


def _text(value: object) -> str | None:
    return None if value is None else clean_text(str(value)[:LONGEST_TEXT])


def _identity(value: object, notes: dict[str, str]) -> str | None:
    text = None if value is None else clean_text(str(value))
    if text and len(text) > LONGEST_ID:
        notes["source_id"] = f"longer than {LONGEST_ID} characters"
        return None
    return text


def _whole(value: object, notes: dict[str, str]) -> int | None:
    if value is None:
        return None
    try:
        number = int(float(str(value)))
    except (ValueError, OverflowError):
        notes["priority"] = "not a number"
        return None
    return max(-(2**31), min(2**31 - 1, number))


def _object(value: object) -> dict[str, object]:
    """The JSON object in this text; other text, and what is nested absurdly deep, is kept as {"text": ...}."""
    text = clean_text(str(value))
    try:
        if text.count("{") + text.count("[") > DEEPEST and _is_deep(json.loads(text)):
            return {"text": text}
        parsed = clean(json.loads(text))
    except (ValueError, RecursionError):
        parsed = None
    return {str(k): v for k, v in parsed.items()} if isinstance(parsed, dict) else {"text": text}


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [item for items in inner for item in items]
    return any(isinstance(one, dict | list) for one in level)


def _fits(key: str, value: object, notes: dict[str, str]) -> bool:
    if len(key) <= LONGEST_ID and (isinstance(value, float) or (isinstance(value, str) and len(value) <= _SURELY_FITS)):
        return True
    size = len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))
    if size <= LONGEST_ATTRIBUTE and len(key) <= LONGEST_ID:
        return True
    notes[key[:LONGEST_ID]] = f"longer than {LONGEST_ATTRIBUTE} bytes"
    return False


# --- the file --------------------------------------------------------------------------------------------------------


def _file(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as exc:
        raise BadInput(
            f"{path} cannot be read ({exc.strerror})",
            field="SALESFORCE_MAPPING_FILE",
            fix="Name a file that is there, or unset it for the default mapping.",
        ) from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise BadInput(
            f"{path} is not YAML", field="SALESFORCE_MAPPING_FILE", fix="Compare it with docs/salesforce.md."
        ) from exc
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadInput(f"{path} is a list or a text", field="SALESFORCE_MAPPING_FILE", fix="Write `read:` with lines.")
    return found


def _known(lines: Any, default: Mapping[str, Any], under: str) -> None:
    if not isinstance(lines, Mapping):
        raise BadInput("is not a section", field=under.rstrip("."), fix="Write `ours: Salesforce_Field__c` lines.")
    for key in lines:
        if key not in default:
            raise BadInput(
                "is not one of our names", field=f"{under}{key}", fix=f"Known here are {', '.join(sorted(default))}."
            )


def _one(key: str, value: object) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise BadInput(
        f"{value!r} is not a Salesforce API name",
        field=key,
        fix="Give one such as Postal_Area__c, from Object Manager.",
    )


def _lines(part: str, default: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    return {k: _one(f"{part}.{k}", v) for k, v in (default[part] | (changes.get(part) or {})).items() if v}


def _some(key: str, value: object) -> tuple[str, ...]:
    values: Sequence[object] = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(_one(key, one) for one in values)


def _stages(lines: Any) -> dict[str, str]:
    if not isinstance(lines, Mapping):
        raise BadInput("is not a section", field="statuses", fix="Write `Value of Status: completed` lines.")
    for value, means in lines.items():
        if ASKED.get(str(means)) != means:
            fix = f"Known here are {', '.join(sorted(set(ASKED.values())))}."
            raise BadInput(f"{means!r} is nothing a status can stand for", field=f"statuses.{value}", fix=fix)
    return {str(value).casefold(): str(means) for value, means in lines.items()}


def _ids(key: str, values: Any) -> frozenset[str]:
    for value in values if isinstance(values, list) else [values]:
        if not (isinstance(value, str) and is_id(value)):
            raise BadInput(f"{value!r} is no id of a record", field=key, fix="Give ids of 15 or 18 characters.")
    return frozenset(map(long_id, values))


def _apart(part: str, writes: dict[str, str]) -> dict[str, str]:
    """The outputs, each with a field of its own."""
    for key, earlier in _doubles(writes):
        raise BadInput(
            f"{writes[key]} is also {part}.{earlier}", field=f"{part}.{key}", fix="Give each output a field of its own."
        )
    return writes


def _doubles(writes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for key, name in writes.items():
        if name in first:
            yield key, first[name]
        first.setdefault(name, key)

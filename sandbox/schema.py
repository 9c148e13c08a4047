"""What an object is made of: fields as describe shows them, read from `schema/*.yaml`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from sandbox import ids, source

FOLDER = Path(__file__).parent / "schema"
FAIRTURN = "Fairturn_"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field; a compound (personname, address) holds parts that are fields of their own."""

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    required: bool = False
    readonly: bool = False
    external_id: bool = False
    unique: bool = False
    to: tuple[str, ...] = ()
    relationship: str = ""
    values: tuple[str, ...] = ()
    restricted: bool = False
    default: str | float | bool | None = None
    event: bool = True
    prefix: str = ""
    part_of: str = ""
    part: str = ""
    field_id: str = ""

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def compound(self) -> bool:
        return self.type in {"personname", "address"}


@dataclass(frozen=True)
class Rule:
    """A validation rule of the org; `never_lower` refuses a smaller number than the stored one."""

    field: str
    rule: str
    message: str
    name: str = ""
    formula: str = ""


@dataclass(frozen=True)
class SObject:
    """An object type. Never changed in place: a new field makes a new SObject."""

    name: str
    prefix: str
    fields: tuple[Field, ...]
    label: str = ""
    rules: tuple[Rule, ...] = field(default=())

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Fields by lower-case name: the API ignores case."""
        return {each.name.lower(): each for each in self.fields}

    @cached_property
    def by_relationship(self) -> Mapping[str, Field]:
        return {each.relationship.lower(): each for each in self.fields if each.relationship}

    @cached_property
    def required(self) -> tuple[Field, ...]:
        return tuple(each for each in self.fields if each.required)

    @cached_property
    def keys(self) -> tuple[Field, ...]:
        """The fields that are looked up by value."""
        return tuple(each for each in self.fields if each.external_id or each.unique)

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    def with_field(self, new: Field) -> "SObject":
        kept = tuple(each for each in self.fields if each.name.lower() != new.name.lower())
        return replace(self, fields=(*kept, _numbered(new, self.prefix, len(kept))))

    def without(self, names: Iterable[str]) -> "SObject":
        gone = {name.lower() for name in names}
        return replace(
            self,
            fields=tuple(each for each in self.fields if each.name.lower() not in gone),
            rules=tuple(each for each in self.rules if each.field.lower() not in gone),
        )


_NAME_PARTS = (
    {"part": "Salutation", "type": "picklist", "length": 40, "values": ("Mr.", "Ms.", "Mrs.", "Dr.", "Prof.")},
    {"part": "FirstName", "type": "string", "length": 40},
    {"part": "LastName", "type": "string", "length": 80, "required": True},
)
_ADDRESS_PARTS = (
    {"part": "Street", "type": "textarea", "length": 255},
    {"part": "City", "type": "string", "length": 40},
    {"part": "State", "type": "string", "length": 80},
    {"part": "PostalCode", "type": "string", "length": 20},
    {"part": "Country", "type": "string", "length": 80},
    {"part": "Latitude", "type": "double", "precision": 18, "scale": 15},
    {"part": "Longitude", "type": "double", "precision": 18, "scale": 15},
    {
        "part": "GeocodeAccuracy",
        "type": "picklist",
        "length": 40,
        "values": (
            *("Address", "NearAddress", "Block", "Street", "ExtendedZip", "Zip", "Neighborhood"),
            *("City", "County", "State", "Unknown"),
        ),
    },
)
_PARTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {"personname": _NAME_PARTS, "address": _ADDRESS_PARTS}


def field_of(row: Mapping[str, Any]) -> Field:
    """A Field from a row of a schema file. TypeError names what the row should not have."""
    clean: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Field(**{"label": str(clean["name"]), **clean})


def _parts(parent: Field) -> Iterable[Field]:
    for row in _PARTS.get(parent.type, ()):
        name = parent.prefix + row["part"]
        yield field_of({**row, "name": name, "part_of": parent.name, "event": parent.event})


def _numbered(each: Field, prefix: str, position: int) -> Field:
    if not each.custom or each.field_id:
        return each
    return replace(each, field_id=ids.mint("00N", ord(prefix[0]) * 1000 + position)[: ids.SHORT])


def sobject_of(spec: Mapping[str, Any]) -> SObject:
    fields: list[Field] = []
    for row in (*spec["fields"], *source.fields(spec["name"])):
        each = field_of(row)
        fields.append(replace(each, readonly=True) if each.compound else each)
        fields.extend(_parts(each))
    return SObject(
        name=spec["name"],
        label=spec.get("label", spec["name"]),
        prefix=spec["prefix"],
        fields=tuple(_numbered(each, spec["prefix"], position) for position, each in enumerate(fields)),
        rules=tuple(Rule(**rule) for rule in source.rules(spec["name"])),
    )


def load(*, bare: bool = False) -> dict[str, SObject]:
    """Every object of the default org by name; `bare` leaves out what an administrator adds for Fairturn."""
    found = [sobject_of(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.yaml"))]
    if bare:
        found = [
            each.without(one.name for one in each.fields if one.name.startswith(FAIRTURN))
            for each in found
            if not each.custom
        ]
    return {each.name: each for each in found}

"""What an administrator adds to the org for Fairturn, read from the Salesforce source that is deployed to real orgs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

#: The source itself; files only, nothing of it is imported.
FOLDER = Path(__file__).parents[1] / "gateways/salesforce/org/force-app/main/default/objects"
_NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"
_KINDS = {
    "Text": "string",
    "LongTextArea": "textarea",
    "Number": "double",
    "DateTime": "datetime",
    "Checkbox": "boolean",
    "Lookup": "reference",
}
_NEVER_LOWER = re.compile(r"(\w+__c) < PRIORVALUE\(\1\)")


def fields(name: str) -> list[dict[str, Any]]:
    """The custom fields of this object, as rows of a schema file."""
    return [_row(each) for each in _parsed(name, "fields")]


def rules(name: str) -> list[dict[str, str]]:
    """The validation rules of this object that the sandbox can follow."""
    return [row for each in _parsed(name, "validationRules") for row in _rule(each)]


def _parsed(name: str, part: str) -> Iterator[Mapping[str, str]]:
    for path in sorted((FOLDER / name / part).glob("*-meta.xml")):
        root = ET.parse(path).getroot()  # noqa: S314 - our own files
        yield {each.tag.removeprefix(_NAMESPACE): each.text or "" for each in root}


def _row(told: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": told["fullName"], "label": told["label"], "type": _KINDS[told["type"]]}
    row |= {key: int(told[key]) for key in ("length", "precision", "scale") if key in told}
    row |= {ours: True for ours, theirs in (("external_id", "externalId"), ("unique", "unique")) if _yes(told, theirs)}
    if told["type"] == "Lookup":
        row |= {"to": [told["referenceTo"]], "relationship": told["fullName"].removesuffix("c") + "r"}
    if told["type"] == "Checkbox":
        row["default"] = _yes(told, "defaultValue")
    return row


def _rule(told: Mapping[str, str]) -> Iterator[dict[str, str]]:
    found = _NEVER_LOWER.search(told["errorConditionFormula"])
    if found and _yes(told, "active"):
        yield {
            "field": found[1],
            "rule": "never_lower",
            "message": told["errorMessage"],
            "name": told["fullName"],
            "formula": told["errorConditionFormula"],
        }


def _yes(told: Mapping[str, str], key: str) -> bool:
    return told.get(key) == "true"

"""The Salesforce source that is deployed to an org has what the mapping reads and writes, each of the right type."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateways.salesforce import doctor, mapping
from gateways.salesforce.doctor import Wanted
from gateways.salesforce.mapping import FieldMap

ORG = Path(mapping.__file__).parent / "org"
MAIN = ORG / "force-app/main/default"
SPACE = "{http://soap.sforce.com/2006/04/metadata}"
MAP = FieldMap.load()
#: Metadata's name of a type, and what describe calls it.
TYPES = {
    "Text": "string",
    "LongTextArea": "textarea",
    "Number": "double",
    "DateTime": "datetime",
    "Checkbox": "boolean",
    "Lookup": "reference",
}


def root(path: Path) -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314 - our own files


def said(path: Path) -> dict[str, str]:
    return {each.tag.removeprefix(SPACE): each.text or "" for each in root(path)}


def field(where: str, name: str) -> dict[str, str]:
    return said(MAIN / f"objects/{where}/fields/{name}.field-meta.xml")


def wanted() -> Iterator[tuple[str, str, Wanted]]:
    """Every custom field that we read or write: its object, its name, what it must be."""
    for ours, names in MAP.reads.items():
        yield from ((MAP.record_type, name, doctor.READ[ours]) for name in names if name.endswith("__c"))
    yield from (
        (MAP.record_type, name, doctor.WRITTEN[ours]) for ours, name in MAP.writes.items() if name[-3:] == "__c"
    )
    yield from ((MAP.offer["object"], name, doctor.OFFER[ours]) for ours, name in MAP.offer.items() if ours != "object")
    yield "Account", MAP.activity["account"], Wanted(frozenset({"boolean"}), "")


@pytest.mark.parametrize(("where", "name", "must"), [*wanted()], ids=lambda one: one if isinstance(one, str) else "")
def test_B4_every_field_we_read_or_write_is_in_the_source_with_the_right_type(
    where: str, name: str, must: Wanted
) -> None:
    told = field(where, name)
    assert told["fullName"] == name
    assert TYPES[told["type"]] in must.types
    assert int(told.get("length", 0)) >= must.length
    if "precision" in told:
        assert int(told["precision"]) - int(told["scale"]) >= must.digits
        assert int(told["scale"]) >= must.scale
    assert must.external_id <= (told.get("externalId") == "true")


def test_B4_the_source_has_nothing_that_nobody_reads_or_writes() -> None:
    used = {(where, name) for where, name, _ in wanted()} | {("Account", "Fairturn_Partner_Key__c")}  # for imports
    made = {(path.parts[-3], path.name.split(".")[0]) for path in MAIN.glob("objects/*/fields/*.xml")}
    assert made == used


def test_B4_the_permission_set_gives_read_on_what_is_read_and_edit_on_what_is_written() -> None:
    [path] = MAIN.glob("permissionsets/*.xml")
    permissions = root(path)
    given = {
        str(each.findtext(f"{SPACE}field")): each.findtext(f"{SPACE}editable") == "true"
        for each in permissions.iter(f"{SPACE}fieldPermissions")
    }
    written = {f"{MAP.record_type}.{name}" for name in MAP.outputs if name.endswith("__c")}
    written |= {f"{MAP.offer['object']}.{name}" for ours, name in MAP.offer.items() if ours != "object"}
    assert {name for name, edit in given.items() if edit} == written
    assert {f"{where}.{name}" for where, name, _ in wanted()} <= given.keys()
    objects = {
        str(each.findtext(f"{SPACE}object")): {what.tag.removeprefix(SPACE) for what in each if what.text == "true"}
        for each in permissions.iter(f"{SPACE}objectPermissions")
    }
    assert objects["Lead"] == {"allowRead", "allowEdit", "viewAllRecords"}
    assert objects["Fairturn_Offer__c"] == {"allowRead", "allowEdit", "allowCreate", "viewAllRecords"}
    assert objects["Account"] == {"allowRead", "viewAllRecords"}


@pytest.mark.parametrize("where", ["Lead", "Fairturn_Offer__c"])
def test_B4_versions_never_fall_by_a_rule_that_is_active(where: str) -> None:
    rule = said(MAIN / f"objects/{where}/validationRules/{doctor.RULE}.validationRule-meta.xml")
    version = MAP.writes["version"]
    assert (rule["fullName"], rule["active"]) == (doctor.RULE, "true")
    assert f"{version} < PRIORVALUE({version})" in rule["errorConditionFormula"]


def test_B4_lead_is_selected_for_change_data_capture_and_the_project_can_be_deployed() -> None:
    [member] = MAIN.glob("platformEventChannelMembers/*.xml")
    assert said(member) == {"eventChannel": "ChangeEvents", "selectedEntity": "LeadChangeEvent"}
    project = json.loads((ORG / "sfdx-project.json").read_text("utf-8"))
    assert [(ORG / each["path"]).is_dir() for each in project["packageDirectories"]] == [True]
    assert (MAIN / "objects/Fairturn_Offer__c/Fairturn_Offer__c.object-meta.xml").exists()

"""What happens to several records at once: conversion, merging, geocoding by the org itself."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.cdc import Change
from sandbox.errors import RecordError
from sandbox.org import AUTOMATED, Actor, Org
from sandbox.schema import SObject
from sandbox.transaction import Transaction
from sandbox.values import Record

MOST_MERGED = 2
_CONVERTED = "Closed - Converted"
Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Conversion:
    """One lead's conversion, as SOAP's LeadConvert names it."""

    lead_id: str
    status: str = _CONVERTED
    account_id: str = ""
    contact_id: str = ""
    opportunity_name: str = ""
    no_opportunity: bool = False
    owner_id: str = ""

    @classmethod
    def of(cls, texts: Mapping[str, Any]) -> "Conversion":
        return cls(
            lead_id=texts.get("leadId", ""),
            status=texts.get("convertedStatus") or _CONVERTED,
            account_id=texts.get("accountId", ""),
            contact_id=texts.get("contactId", ""),
            opportunity_name=texts.get("opportunityName", ""),
            no_opportunity=str(texts.get("doNotCreateOpportunity", "")).lower() == "true",
            owner_id=texts.get("ownerId", ""),
        )


_ADDRESS = ("Street", "City", "State", "PostalCode", "Country")
_PERSON = ("Salutation", "FirstName", "LastName", "Title", "Email", "Phone", "MobilePhone", "Fax", "LeadSource")


def convert(work: Transaction, asked: Conversion) -> dict[str, Any]:
    """Account, contact and opportunity are made, the lead is closed, all in one transaction.

    The lead's event names no LastModifiedDate: conversions are one of CDC's two exceptions.
    """
    types = work.org.types
    lead = work.existing(types["Lead"], asked.lead_id)
    if lead.get("IsConverted"):
        raise RecordError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    owner = {"OwnerId": asked.owner_id or _user_owner(work, lead)}
    account_id = asked.account_id or work.insert(types["Account"], _account(lead) | owner)
    contact_id = asked.contact_id or work.insert(types["Contact"], _contact(lead, account_id) | owner)
    opportunity_id = None
    if not asked.no_opportunity:
        opportunity_id = work.insert(types["Opportunity"], _opportunity(work, lead, account_id, asked) | owner)
    closed = {
        "Status": asked.status,
        "IsConverted": True,
        "ConvertedDate": work.today(),
        "ConvertedAccountId": account_id,
        "ConvertedContactId": contact_id,
        "ConvertedOpportunityId": opportunity_id,
    }
    work.change(types["Lead"], lead, closed | work.stamps(), untold=work.stamps())
    return {
        "accountId": account_id,
        "contactId": contact_id,
        "leadId": lead["Id"],
        "opportunityId": opportunity_id,
    }


def _user_owner(work: Transaction, lead: Record) -> str:
    """Queues own leads but no accounts."""
    owner = str(lead.get("OwnerId", ""))
    return owner if owner.startswith("005") else work.actor.user_id


def _account(lead: Record) -> Record:
    address = {f"Billing{name}": lead[name] for name in _ADDRESS if lead.get(name)}
    return {"Name": lead["Company"], **address, **{name: lead[name] for name in ("Phone", "Website") if lead.get(name)}}


def _contact(lead: Record, account_id: str) -> Record:
    address = {f"Mailing{name}": lead[name] for name in _ADDRESS if lead.get(name)}
    return {**{name: lead[name] for name in _PERSON if lead.get(name)}, **address, "AccountId": account_id}


def _opportunity(work: Transaction, lead: Record, account_id: str, asked: Conversion) -> Record:
    return {
        "Name": asked.opportunity_name or f"{lead['Company']}-",
        "StageName": "Prospecting",
        "CloseDate": work.today(),
        "AccountId": account_id,
    }


def merge(
    work: Transaction, sobject: SObject, master_id: str, losers: list[str], fields: Mapping[str, Any] | None = None
) -> None:
    """Up to two records become part of a third: they are deleted, it is updated."""
    if not 1 <= len(losers) <= MOST_MERGED:
        raise RecordError("INVALID_ARGUMENT", f"merge takes one or {MOST_MERGED} records")
    master = work.existing(sobject, master_id)
    for loser in losers:
        if work.existing(sobject, loser)["Id"] == master["Id"]:
            raise RecordError("INVALID_ARGUMENT", "a record can not be merged into itself")
    for loser in losers:
        work.delete(sobject, loser, master_id=str(master["Id"]))
    work.update(sobject, str(master["Id"]), fields or {})


def place(org: Org, lead_id: str, spot: Spot, accuracy: str = "Zip") -> None:
    """Writes coordinates as the org's own geocode rule does: no origin, no new LastModifiedDate."""
    work = Transaction(org, Actor(org.user_named(AUTOMATED)))
    try:
        lead = work.existing(org.types["Lead"], lead_id)
    except RecordError:
        return  # deleted meanwhile: nothing to place
    found: Record = {"Latitude": spot[0], "Longitude": spot[1], "GeocodeAccuracy": accuracy}
    stamp = {"SystemModstamp": work.now_ms}
    work.change(org.types["Lead"], lead, found | stamp, untold=stamp)
    work.commit()


def geocode_rule(org: Org, find: Callable[[Record], Spot | None]) -> Callable[[list[Change]], None]:
    """Watches commits; leads whose address changed get coordinates a moment later, when the org has the rule on."""

    def watch(changes: list[Change]) -> None:
        for change in changes if org.options.geocode_delay_s > 0 else ():
            spot = find(change.after) if _moved(change) else None
            if spot:
                loop = asyncio.get_running_loop()
                loop.call_later(org.options.geocode_delay_s, place, org, change.id, spot)

    return watch


def _moved(change: Change) -> bool:
    return (
        change.sobject.name == "Lead"
        and change.kind in {"CREATE", "UPDATE"}
        and any(name in change.values for name in _ADDRESS)
        and "Latitude" not in change.values
    )


def by_zip(record: Record) -> Spot | None:
    """The centroid of a US postal code."""
    import zipcodes  # noqa: PLC0415 - its table takes half a second to load, and only this rule needs it

    code = str(record.get("PostalCode") or "")[:5]
    find: Callable[[str], list[dict[str, Any]]] = zipcodes.matching
    rows = find(code) if len(code) == 5 and code.isdigit() else []
    return (float(rows[0]["lat"]), float(rows[0]["long"])) if rows else None

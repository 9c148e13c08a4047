"""Faults that hit single records of a write."""

from collections.abc import Mapping
from typing import Any

from sandbox.errors import RecordError
from sandbox.org import Org
from sandbox.schema import SObject

NAMED: Mapping[str, RecordError] = {
    "locked": RecordError(
        "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: 00Q000000000001AAA"
    ),
    "trigger": RecordError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "LeadTrigger: System.NullPointerException"),
    "no_access": RecordError(
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights on cross-reference id"
    ),
}


def strike(org: Org, verb: str, sobject: SObject, raw: Mapping[str, Any]) -> None:
    """RecordError when a fault wants this record refused.

    A fault matches `verb`, `object`, `id` or any field's text.
    """
    if not org.faults.standing:
        return
    facts = {str(name): str(value) for name, value in raw.items()}
    record_id = str(raw.get("Id", raw.get("id", "")))
    fault = org.faults.take("record", {**facts, "id": record_id, "verb": verb, "object": sobject.name})
    if fault is None:
        return
    if "name" in fault.args:
        raise NAMED[fault.args["name"]]
    fields = tuple(fault.args.get("fields", ()))
    raise RecordError(fault.args.get("code", "UNKNOWN_EXCEPTION"), fault.args.get("message", "refused"), fields)

"""Salesforce's errors by next action: of the stream (gRPC status and trailers) and of REST (per call and per record).

Codes of the stream: Pub/Sub API guide, "Handling errors". Codes of REST: REST API guide, "Status codes and error
responses".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import grpc
import requests
from simple_salesforce.exceptions import SalesforceError

from routing.change import Outcome, Written
from routing.errors import FairturnError, GiveUp, TryLater


class OrgClosed(GiveUp):
    """Salesforce lets us do nothing at all; no queued row is at fault, so none should be parked for it."""


# --- the stream ------------------------------------------------------------------------------------------------------

PREFIX = "sfdc.platform.eventbus.grpc."


class Action(StrEnum):
    """What the subscriber does next."""

    RETRY = "retry"  # back off, subscribe again after the last stored event
    REAUTH = "reauth"  # another token, once at a time; three in a row is an alarm
    SLOW = "slow"  # too many streams or too fast: wait a minute at least
    ALLOWANCE = "allowance"  # the day's deliveries are used up: wait long, events are kept for three days
    RESYNC = "resync"  # the replay id is of no use any more: start anew and compare all that changed since
    RECHECK = "recheck"  # an admin must switch something on: look again in a while
    STOP = "stop"  # our own mistake, or refused for good: a person must look


_WAIT: Mapping[Action, float] = {Action.SLOW: 60.0, Action.ALLOWANCE: 900.0, Action.RECHECK: 120.0}

_ACTIONS: Mapping[str, Action] = {
    "service.unavailable": Action.RETRY,
    "topic.api.unavailable": Action.RETRY,
    "schema.api.unavailable": Action.RETRY,
    "subscription.internal.error": Action.RETRY,
    "subscription.fetch.replay.repeated": Action.RETRY,
    "subscription.fetch.overflow": Action.RETRY,  # what was outstanding has been stored by now
    "schema.validation.failed": Action.RETRY,  # the event itself is parked where its schema is asked for
    "service.auth.error": Action.REAUTH,
    "service.auth.headers.invalid": Action.STOP,
    "service.auth.refresh.invalid": Action.STOP,
    "service.protection.triggered": Action.SLOW,
    "service.protection.stream.limit.triggered": Action.SLOW,
    "concurrent.client.limit.exceeded": Action.STOP,
    "service.tenant.license": Action.STOP,
    "subscription.limit.exceeded": Action.ALLOWANCE,
    "subscription.fetch.replayid.corrupted": Action.RESYNC,
    "subscription.fetch.replayid.validation.failed": Action.RESYNC,
    "subscription.fetch.requested.events.invalid": Action.STOP,
    "subscription.fetch.topic.mismatch": Action.STOP,
    "subscription.fetch.request.invalid": Action.STOP,
    "topic.validation.empty": Action.STOP,
    "topic.not.found": Action.RECHECK,
    "topic.meta.permission": Action.RECHECK,
    "schema.meta.permission": Action.RECHECK,
    "subscription.topic.cannot.subscribe": Action.RECHECK,
}

_FIXES: Mapping[str, str] = {
    "topic.not.found": "Select the object in Setup > Integrations > Change Data Capture, and check SALESFORCE_TOPIC"
    " (upper and lower case count).",
    "topic.meta.permission": "Give the integration user Read on the object, and check SALESFORCE_TOPIC.",
    "schema.meta.permission": "Give the integration user Read on the object.",
    "subscription.topic.cannot.subscribe": "Give the integration user Read on the object and View All on its records.",
    "subscription.limit.exceeded": "The org's event deliveries of 24 hours are used up; buy more or subscribe less.",
    "service.tenant.license": "The org has no licence for the Pub/Sub API.",
    "concurrent.client.limit.exceeded": "Stop other subscribers of this org.",
    "service.auth.error": "Check the connected app, its user and their login IP ranges.",
    "service.auth.headers.invalid": "Check SALESFORCE_LOGIN_URL: the org and the token do not belong together.",
}

_BY_STATUS: Mapping[grpc.StatusCode, Action] = {
    grpc.StatusCode.UNAVAILABLE: Action.RETRY,
    grpc.StatusCode.INTERNAL: Action.RETRY,
    grpc.StatusCode.UNKNOWN: Action.RETRY,
    grpc.StatusCode.DEADLINE_EXCEEDED: Action.RETRY,
    grpc.StatusCode.ABORTED: Action.RETRY,
    grpc.StatusCode.CANCELLED: Action.RETRY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Action.SLOW,
    grpc.StatusCode.UNAUTHENTICATED: Action.REAUTH,
    grpc.StatusCode.PERMISSION_DENIED: Action.RECHECK,
    grpc.StatusCode.NOT_FOUND: Action.RECHECK,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error of the stream asks for."""

    action: Action
    code: str  # without the prefix, or the gRPC status where there is no code
    wait_s: float = 0.0  # at least
    fix: str = ""
    rpc_id: str = ""


def judge(error: Any) -> Verdict:
    """Classify an error of the stream: by Salesforce's code first, by the gRPC status second."""
    trailers: dict[str, str] = dict(error.trailing_metadata() or ())
    code = str(trailers.get("error-code", "")).removeprefix(PREFIX)
    status: grpc.StatusCode = error.code()
    action = _ACTIONS.get(code) or _BY_STATUS.get(status, Action.STOP)
    return Verdict(
        action,
        code or status.name.lower(),
        _WAIT.get(action, 0.0),
        _FIXES.get(code, ""),
        str(trailers.get("rpc-id", "")),
    )


# --- REST ------------------------------------------------------------------------------------------------------------

_GONE = frozenset({"ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD", "NOT_FOUND"})
#: A reading that takes too long says nothing of the org's health.
SLOW_QUERIES = frozenset({"QUERY_TIMEOUT", "REQUEST_RUNNING_TOO_LONG"})
_AGAIN = SLOW_QUERIES | {
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "UNKNOWN_EXCEPTION",
    "REQUEST_LIMIT_EXCEEDED",
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
}
_LOCKED = "UNABLE_TO_LOCK_ROW"
_TOTAL = "TotalRequests"
_LONG_PAUSE_S = 900.0
_SHORT_PAUSE_S = 5.0
#: A trigger's failure may pass, but seldom does.
_TRIGGER, _TRIGGER_TRIES = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 3
_MEND: Mapping[str, str] = {
    "DUPLICATE_VALUE": "Another record holds a value that must be unique: make the field named not unique, or choose"
    " another in the file of SALESFORCE_MAPPING_FILE.",
    "DUPLICATES_DETECTED": "A duplicate rule of the org stops the update: let it alert instead of block, or exempt the"
    " integration user.",
    "INVALID_FIELD": "A field that we write is not there, or not ours to see: `fairturn doctor` names it with the way"
    " to create it.",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "Give the integration user Edit on the field: `fairturn doctor` names it.",
    "INVALID_TYPE_ON_FIELD_IN_RECORD": "The field has another type than we write: `fairturn doctor` names it.",
    "STRING_TOO_LONG": "The field is too short for what we write: `fairturn doctor` names it.",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "Add the value to the picklist, or make the field a text.",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the org stops the update: exempt the integration user,"
    " or mend the lead. If it is the rule that versions never fall, Salesforce shows a later version than the ledger"
    " has: was the ledger restored from a backup?",
    "REQUIRED_FIELD_MISSING": "The org has made a field required that this lead has not: fill it in Salesforce.",
    "INVALID_CROSS_REFERENCE_KEY": "The member's Salesforce id leads to no record: correct it in the roster.",
    "MALFORMED_ID": "The member's Salesforce id is none: correct it in the roster.",
    "INSUFFICIENT_ACCESS_OR_READONLY": "Give the integration user Edit on leads, and View All.",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "Give the integration user Read on the partner's record.",
    _TRIGGER: "A trigger or flow of the org fails for this lead: its administrator finds the error in its debug log.",
}


def result_of(lead_id: int, result: Mapping[str, Any]) -> Written:
    """What became of one record of a write."""
    if result.get("success"):
        return Written(lead_id, Outcome.DONE)
    code, message = first_error(result.get("errors"))
    outcome = outcome_of(code, message)
    said = " ".join(message.split())[:500]
    mend = _MEND.get(code, "") if outcome is Outcome.PARK or code == _TRIGGER else ""
    tries = _TRIGGER_TRIES if code == _TRIGGER and outcome is Outcome.RETRY and _LOCKED not in message else 0
    return Written(lead_id, outcome, code, f"{said} {mend}".strip(), tries)


def outcome_of(code: str, message: str = "") -> Outcome:
    """What one record's error asks for. A row locked inside a trigger comes as the trigger's error."""
    if code in _AGAIN or code == _TRIGGER or _LOCKED in message:
        return Outcome.RETRY
    return Outcome.GONE if code in _GONE else Outcome.PARK


def translate(error: SalesforceError) -> FairturnError:
    """A failed call in our words: TryLater (`pause_s`: for how long to leave Salesforce alone), OrgClosed, GiveUp."""
    code, message = first_error(error.content)
    status = int(error.status)
    if status == requests.codes.forbidden and code == "REQUEST_LIMIT_EXCEEDED":
        return _limit(message)
    if status == requests.codes.unauthorized or code == "API_DISABLED_FOR_ORG":
        return OrgClosed(f"Salesforce refuses us: {code or status}", status=status, code=code)
    if status >= requests.codes.server_error or status in {408, 420, 429} or outcome_of(code, message) is Outcome.RETRY:
        return TryLater(f"Salesforce is unwell: {code or status}", status=status, code=code)
    return GiveUp(f"Salesforce refuses the call: {code or status} {_brief(message)}".rstrip(), status=status, code=code)


def _limit(message: str) -> FairturnError:
    whole_day = _TOTAL in message
    return TryLater(
        "the org's API calls of 24 hours are used up" if whole_day else "too many long calls at once in this org",
        pause_s=_LONG_PAUSE_S if whole_day else _SHORT_PAUSE_S,
        alarm=whole_day,
        code="REQUEST_LIMIT_EXCEEDED",
    )


def first_error(content: Any) -> tuple[str, str]:
    """The code and the message of an error body, which is a list, a single error or not JSON at all."""
    first = (
        content[0] if isinstance(content, Sequence) and not isinstance(content, str | bytes) and content else content
    )
    if not isinstance(first, Mapping):
        return "", ""
    code = first.get("errorCode") or first.get("statusCode") or first.get("error") or ""
    return str(code), str(first.get("message") or first.get("error_description") or "")


def json_of(response: requests.Response) -> Any:
    """The body read as JSON; None when it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def _brief(message: str) -> str:
    return " ".join(message.split())[:200]


def unreachable(error: requests.RequestException, url: str) -> FairturnError:
    """A call that got no answer: TryLater, unless the address or the certificate is wrong."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return OrgClosed(f"The certificate of {host} is not trusted. Name its authority's file in SALESFORCE_CA_FILE.")
    if isinstance(
        error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | requests.exceptions.InvalidSchema
    ):
        return OrgClosed(f"{url!r} is not a web address. Check SALESFORCE_LOGIN_URL.")
    if isinstance(error, OSError) and "ca_cert" in str(error).casefold():
        return OrgClosed("The file in SALESFORCE_CA_FILE cannot be read.")
    return TryLater(f"{host} does not answer", host=host)

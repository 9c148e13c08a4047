"""Salesforce by REST: what we write back, what we read again, what the org says about itself."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
import requests
from simple_salesforce.api import Salesforce as Client
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession
from simple_salesforce.util import exception_handler

from gateways.salesforce.auth import TIMEOUTS, Session, TokenProvider
from gateways.salesforce.errors import SLOW_QUERIES, OrgClosed, result_of, translate, unreachable
from gateways.salesforce.http import LARGEST, open_session
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.words import clean, instant, is_id, long_id, soql_time
from routing.change import MISSING, Change, OfferRecord, Outcome, WriteBack, Written
from routing.compare import Seen
from routing.errors import BadInput, GiveUp, TryLater
from routing.gate import Purpose
from routing.leavers import Active, Kind

MOST = 200  # records in one collection call, and ids in one query
PAGE = 2_000
_ALWAYS = ("Id", "IsDeleted", "SystemModstamp", "CreatedDate", "LastModifiedById")
_CLOSED_S = 60.0
_MINUTE = timedelta(minutes=1)
_REMEMBERED = timedelta(days=29)  # of the log of deletions; Salesforce keeps thirty
_NARROWING = 24  # more calls at most to find the records that spoil a call
_FOR_ALL = frozenset({"INVALID_FIELD", "INVALID_TYPE"})  # true of every record alike: the same fields are written

_VERBS = ("queryable", "createable", "updateable")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """API calls of the org in the last 24 hours, as the last answer told."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field, as the org describes it."""

    name: str
    type: str
    updateable: bool
    length: int = 0
    precision: int = 0
    scale: int = 0
    external_id: bool = False


class Gate(Protocol):
    """Who knows whether the org may be called, and wants to know how it went. `ask` raises OrgPaused."""

    def ask(self, purpose: Purpose) -> None: ...
    def passed(self, used: int | None = None, allowed: int | None = None) -> None: ...
    def failed(self, because: str, wish_s: float = 0.0) -> None: ...


class NoGate:
    """Lets every call through."""

    def ask(self, purpose: Purpose) -> None:
        pass

    def passed(self, used: int | None = None, allowed: int | None = None) -> None:
        pass

    def failed(self, because: str, wish_s: float = 0.0) -> None:
        pass


class Salesforce:
    """One org. Every call may raise TryLater (perhaps with `pause_s`) or GiveUp.

    That the org refuses us altogether is a TryLater with `alarm`: no queued row is at fault, none should be parked.
    """

    def __init__(
        self,
        tokens: TokenProvider,
        mapping: FieldMap,
        *,
        version: str = "64.0",
        client_name: str = "Fairturn",
        ca_file: Path | None = None,
        gate: Gate | None = None,
        timeouts: tuple[float, float] = TIMEOUTS,
        largest: int = LARGEST,
    ) -> None:
        self._tokens = tokens
        self._mapping = mapping
        self._record = mapping.recorder()
        self._version = version
        self._http = open_session(client_name, ca_file, timeouts=timeouts, largest=largest)
        self._gate = gate or NoGate()
        self._client: tuple[str, Any] | None = None
        self._described: dict[str, dict[str, FieldInfo]] = {}
        self._allowed: dict[str, frozenset[str]] = {}
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """None before the first call."""
        return self._usage

    def whoami(self) -> Session:
        """The integration user's session; its user id is the commit user of our own writes."""
        return self._tokens.token()

    def describe(self, name: str) -> dict[str, FieldInfo]:
        """The fields of an object by name, asked once."""
        if name not in self._described:
            answer = self._call(lambda client: client.restful(f"sobjects/{name}/describe"))
            self._described[name] = {field["name"]: _field_info(field) for field in answer["fields"]}
            self._allowed[name] = frozenset(what for what in _VERBS if answer.get(what))
        return self._described[name]

    def allowed(self, name: str) -> frozenset[str]:
        """What we may do with records of an object: queryable, createable, updateable."""
        self.describe(name)
        return self._allowed[name]

    def validation_rules(self, name: str) -> dict[str, bool]:
        """The validation rules of an object, and whether each is active; asked of the Tooling API."""
        soql = f"SELECT ValidationName, Active FROM ValidationRule WHERE EntityDefinition.QualifiedApiName = '{name}'"  # noqa: S608 - a checked name
        answer = self._call(lambda client: client.restful("tooling/query", params={"q": soql}))
        return {str(row["ValidationName"]): bool(row["Active"]) for row in answer["records"]}

    def limits(self) -> Mapping[str, Mapping[str, int]]:
        """The org's limits, each with Max and Remaining."""
        answer: Mapping[str, Mapping[str, int]] = self._call(lambda client: client.limits())
        return answer

    # --- writing

    def write(self, writes: Sequence[WriteBack]) -> list[Written]:
        """Show these leads' states in Salesforce; one result a lead, in order. Repeating it changes nothing."""
        results: list[Written] = []
        for start in range(0, len(writes), MOST):
            results += self._write(writes[start : start + MOST], iter(range(_NARROWING)))
        return results

    def _write(self, writes: Sequence[WriteBack], more: Iterator[int]) -> list[Written]:
        try:
            return self._patch(writes)
        except GiveUp as exc:
            if exc.facts.get("status") != requests.codes.bad_request:
                raise
            return self._narrow(writes, exc, more)

    def _narrow(self, writes: Sequence[WriteBack], error: GiveUp, more: Iterator[int]) -> list[Written]:
        """Salesforce refused the call as a whole: find the records it cannot read, so that the others are written."""
        code = str(error.facts.get("code", ""))
        why = f"{error} `fairturn doctor` says more."
        if len(writes) == 1 or code in _FOR_ALL:
            return [Written(write.lead_id, Outcome.PARK, code, why) for write in writes]
        if next(more, None) is None:
            return [Written(write.lead_id, Outcome.RETRY, code, why, tries=3) for write in writes]
        middle = len(writes) // 2
        return self._write(writes[:middle], more) + self._write(writes[middle:], more)

    def _patch(self, writes: Sequence[WriteBack]) -> list[Written]:
        body = orjson.dumps({"allOrNone": False, "records": [self._record(write) for write in writes]})
        answer = self._call(lambda client: self._send(client, body, len(writes)), Purpose.WRITE)
        return [result_of(write.lead_id, result) for write, result in zip(writes, answer, strict=True)]

    def _send(
        self, client: Any, body: bytes, records: int, path: str = "composite/sobjects"
    ) -> list[Mapping[str, Any]]:
        """Not by simple-salesforce, which has its answers and our records read and written by the slow way."""
        response = self._http.patch(
            f"{client.base_url}{path}",
            data=body,
            headers={"Authorization": client.headers["Authorization"], "Content-Type": "application/json"},
        )
        if response.status_code >= requests.codes.multiple_choices:
            exception_handler(response, name=path)
        client.api_usage = client.parse_api_usage(response.headers.get("Sforce-Limit-Info", ""))
        answer = orjson.loads(response.content)
        if not isinstance(answer, list) or len(answer) != records or not all(isinstance(one, dict) for one in answer):
            raise TryLater("Salesforce answered with other records than were sent")
        return answer

    def write_offers(self, records: Sequence[OfferRecord]) -> list[Written]:
        """Show these offers, a record each; one result a record, in order. Repeating it changes nothing."""
        kind, key = self._mapping.offer["object"], self._mapping.offer["key"]
        path = f"composite/sobjects/{kind}/{key}"
        results: list[Written] = []
        for start in range(0, len(records), MOST):
            some = records[start : start + MOST]
            body = orjson.dumps({"allOrNone": False, "records": [self._mapping.offer_record(one) for one in some]})
            answer = self._call(partial(self._send, body=body, records=len(some), path=path), Purpose.WRITE)
            results += [result_of(one.lead_id, result) for one, result in zip(some, answer, strict=True)]
        return results

    # --- reading

    def read(self, ids: Sequence[str]) -> list[Change]:
        """These records as they are now, deleted ones as DELETE, unknown ones as MISSING; what is no id is left out."""
        wanted = list(dict.fromkeys(long_id(one) for one in ids if is_id(one)))
        found: dict[str, Change] = {}
        for start in range(0, len(wanted), MOST):
            chunk = wanted[start : start + MOST]
            quoted = ",".join(f"'{one}'" for one in chunk)
            rows = self._query(f"{self._select()} WHERE Id IN ({quoted})")
            found |= {change.record_id[:15]: change for change in map(_read_now, rows)}
        return [found.get(one[:15]) or _missing(one) for one in wanted]

    def versions(self, records: Sequence[Change]) -> dict[str, int | None]:
        """The version of ours that each of these records shows, by record id; deleted ones show nothing."""
        if "version" not in self._mapping.writes:
            return {}
        return {one.record_id: self._mapping.version_shown(one.body) for one in records if one.body}

    def changed_since(self, at: datetime, after: str = "", *, page: int = PAGE) -> Iterator[list[Change]]:
        """Every record changed at or after this moment, deleted ones too, oldest change first, page by page.

        With `after`, those changed at this very moment begin behind that id: where an earlier reading ended. Pages go
        by (SystemModstamp, Id), not by a server-side cursor: nothing is lost when it takes days. A record that changes
        meanwhile comes again with its later change.
        """
        while True:
            moment = soql_time(at)
            behind = f" AND (SystemModstamp > {moment} OR Id > '{after}')" if is_id(after) else ""
            where = f"SystemModstamp >= {moment}{behind}"
            query = f"{self._select()} WHERE {where} ORDER BY SystemModstamp, Id LIMIT {page}"
            rows = list(self._query(query))
            if rows:
                yield [_as_of(row) for row in rows]
            if len(rows) < page:
                return
            at, after = instant(rows[-1]["SystemModstamp"]), long_id(rows[-1]["Id"])

    def open_records(self, after: str = "", *, page: int = PAGE) -> tuple[list[Seen], bool]:
        """Records that are neither deleted nor converted, by id, from behind this one; whether these are the last."""
        known = self.describe(self._mapping.record_type)
        converted = next((name for name in self._mapping.reads.get("is_converted", ()) if name in known), None)
        tests = [f"{converted} = false"] if converted else []
        tests += [f"Id > '{after}'"] if is_id(after) else []
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        query = (
            f"SELECT Id, SystemModstamp, CreatedDate FROM {self._mapping.record_type}{where} ORDER BY Id LIMIT {page}"  # noqa: S608 - names checked when the mapping was read
        )
        rows = list(self._query(query, deleted=False))
        return [_seen(row) for row in rows], len(rows) < page

    def active(self, kind: Kind, ids: Sequence[str]) -> list[Active]:
        """Whether these users or accounts are in use; who is gone is left out."""
        wanted = ",".join(f"'{one}'" for one in ids if is_id(one))
        if not wanted or kind.active not in self.describe(kind.record):
            return [Active(one, True, datetime.now(UTC)) for one in ids]
        query = f"SELECT Id, SystemModstamp, {kind.active} FROM {kind.record} WHERE Id IN ({wanted})"  # noqa: S608 - ids and names were checked
        return [_active(row, kind) for row in self._query(query, deleted=False)]

    def active_since(self, kind: Kind, at: datetime, *, page: int = PAGE) -> Iterator[list[Active]]:
        """Users or accounts that changed since then, the oldest change first, page by page; deleted ones too."""
        if kind.active not in self.describe(kind.record):
            return
        bin_ = ", IsDeleted" if "IsDeleted" in self.describe(kind.record) else ""  # users are never deleted
        after = ""
        while True:
            moment = soql_time(at)
            behind = f" AND (SystemModstamp > {moment} OR Id > '{after}')" if after else ""
            query = (
                f"SELECT Id, SystemModstamp, {kind.active}{bin_} FROM {kind.record}"  # noqa: S608 - as above
                f" WHERE SystemModstamp >= {moment}{behind} ORDER BY SystemModstamp, Id LIMIT {page}"
            )
            rows = list(self._query(query, deleted=bool(bin_)))
            if rows:
                yield [_active(row, kind) for row in rows]
            if len(rows) < page:
                return
            at, after = instant(rows[-1]["SystemModstamp"]), long_id(rows[-1]["Id"])

    def deleted_between(self, start: datetime, end: datetime) -> list[str]:
        """Ids of records deleted in that time, also those that are in no recycle bin any more.

        Salesforce counts in minutes and remembers thirty days. Where its log does not reach, nothing is told: such
        deletions are found by comparing all open records.
        """
        first = max(start, end - _REMEMBERED).replace(second=0, microsecond=0)
        last = end.replace(second=0, microsecond=0) + _MINUTE
        try:
            return self._deleted(first, last)
        except GiveUp as exc:
            if exc.facts.get("code") == "INVALID_REPLICATION_DATE":
                return []
            if exc.facts.get("code") != "EXCEEDED_ID_LIMIT" or last - first <= _MINUTE:
                raise
        middle = first + (last - first) / 2
        return self.deleted_between(first, middle - _MINUTE) + self.deleted_between(middle, last - _MINUTE)

    def _deleted(self, start: datetime, end: datetime) -> list[str]:
        times = {"start": soql_time(start), "end": soql_time(end)}
        path = f"sobjects/{self._mapping.record_type}/deleted/"
        answer = self._call(lambda client: client.restful(path, params=times))
        return [long_id(str(row["id"])) for row in answer["deletedRecords"]]

    def _select(self) -> str:
        """Everything we read and write that the org has: a missing custom field must not stop the reading."""
        known = self.describe(self._mapping.record_type)
        ours = (name for name in (*self._mapping.inputs, *self._mapping.outputs) if name in known)
        names = ", ".join(dict.fromkeys([*_ALWAYS, *ours]))
        return f"SELECT {names} FROM {self._mapping.record_type}"  # noqa: S608 - names checked when the mapping was read

    def _query(self, soql: str, *, deleted: bool = True) -> Iterator[Mapping[str, Any]]:
        answer = self._call(lambda client: client.query(soql, include_deleted=deleted))
        while True:
            yield from answer["records"]
            if answer["done"]:
                return
            answer = self._call(partial(_more, url=answer["nextRecordsUrl"]))

    # --- calling

    def _call(self, ask: Callable[[Any], T], purpose: Purpose = Purpose.READ) -> T:
        """One call that the gate knows of, with one new token when the old one is refused; errors in our words."""
        self._gate.ask(purpose)
        try:
            answer = self._with_token(ask)
        except OrgClosed as exc:
            self._gate.failed(str(exc), _CLOSED_S)
            raise TryLater(str(exc), pause_s=_CLOSED_S, alarm=True, **exc.facts) from exc
        except TryLater as exc:
            if purpose is Purpose.READ and exc.facts.get("code") in SLOW_QUERIES:
                self._gate.passed()
            else:
                self._gate.failed(str(exc), _pause_of(exc))
            raise
        except GiveUp:
            self._gate.passed()
            raise
        if self._usage is None:
            self._gate.passed()
        else:
            self._gate.passed(self._usage.used, self._usage.total)
        return answer

    def _with_token(self, ask: Callable[[Any], T]) -> T:
        session = self._session()
        try:
            return self._once(session, ask)
        except SalesforceExpiredSession:
            session = self._tokens.refresh(session.access_token)
        try:
            return self._once(session, ask)
        except SalesforceExpiredSession as exc:
            raise translate(exc) from exc

    def _session(self) -> Session:
        try:
            return self._tokens.token()
        except BadInput as exc:  # of a setting: no record is at fault
            raise OrgClosed(str(exc)) from exc

    def _once(self, session: Session, ask: Callable[[Any], T]) -> T:
        client = self._client_of(session)
        try:
            answer = ask(client)
        except SalesforceExpiredSession:
            raise
        except SalesforceError as exc:
            raise translate(exc) from exc
        except (json.JSONDecodeError, UnicodeDecodeError) as exc:
            raise TryLater("Salesforce answered with something that is not JSON") from exc
        except requests.RequestException as exc:
            raise unreachable(exc, session.instance_url) from exc
        if used := client.api_usage.get("api-usage"):
            self._usage = Usage(used.used, used.total)
        return answer

    def _client_of(self, session: Session) -> Any:
        if self._client is None or self._client[0] != session.access_token:
            client = Client(
                session_id=session.access_token,
                instance_url=session.instance_url,
                version=self._version,
                session=self._http,
                object_pairs_hook=dict,
            )
            # simple-salesforce always says https; the token's own address is the right one.
            client.base_url = f"{session.instance_url}/services/data/v{self._version}/"
            self._client = (session.access_token, client)
        return self._client[1]


def _more(client: Any, url: str) -> Any:
    return client.query_more(url, identifier_is_url=True)


def _pause_of(exc: TryLater) -> float:
    wish = exc.facts.get("pause_s")
    return float(wish) if isinstance(wish, int | float) else 0.0


def _read_now(row: Mapping[str, Any]) -> Change:
    """Each reading is news: within one second of SystemModstamp a record may change again."""
    return _snapshot(row, f"read:{uuid.uuid4()}")


def _as_of(row: Mapping[str, Any]) -> Change:
    """The same state seen by two sweeps is one event."""
    state = json.dumps(row, sort_keys=True, default=str).encode("utf-8", "replace")
    return _snapshot(row, f"sweep:{hashlib.sha256(state).hexdigest()[:32]}")


def _snapshot(row: Mapping[str, Any], event_id: str) -> Change:
    gone = bool(row.get("IsDeleted"))
    body = {name: clean(value) for name, value in row.items() if name != "attributes"}
    return Change(
        event_id=event_id,
        record_id=long_id(str(row["Id"])),
        change_type="DELETE" if gone else "SNAPSHOT",
        replay_id=b"",
        committed_at=instant(str(row["SystemModstamp"])),
        commit_user=str(row.get("LastModifiedById") or ""),
        body={} if gone else body,
    )


def _seen(row: Mapping[str, Any]) -> Seen:
    return Seen(long_id(str(row["Id"])), instant(str(row["SystemModstamp"])), instant(str(row["CreatedDate"])))


def _active(row: Mapping[str, Any], kind: Kind) -> Active:
    in_use = bool(row.get(kind.active)) and not row.get("IsDeleted")
    return Active(long_id(str(row["Id"])), in_use, instant(str(row["SystemModstamp"])))


def _missing(record_id: str) -> Change:
    return Change(
        event_id=f"read:{uuid.uuid4()}",
        record_id=record_id,
        change_type=MISSING,
        replay_id=b"",
        committed_at=datetime.now(UTC),
    )


def _field_info(field: Mapping[str, Any]) -> FieldInfo:
    return FieldInfo(
        name=str(field["name"]),
        type=str(field.get("type", "")),
        updateable=bool(field.get("updateable")),
        length=int(field.get("length") or 0),
        precision=int(field.get("precision") or 0),
        scale=int(field.get("scale") or 0),
        external_id=bool(field.get("externalId")),
    )

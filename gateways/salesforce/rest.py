"""Salesforce by REST: what we write back, what we read again, what the org says about itself."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce as Client
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession

from gateways.salesforce.auth import TIMEOUTS, Session, TokenProvider
from gateways.salesforce.errors import OrgClosed, first_error, outcome_of, translate, unreachable
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.words import clean, instant, is_id, long_id, soql_time
from routing.change import Change, Outcome, WriteBack, Written
from routing.errors import GiveUp, TryLater

MOST = 200  # records in one collection call, and ids in one query
PAGE = 2_000
_ALWAYS = ("Id", "IsDeleted", "SystemModstamp", "CreatedDate", "LastModifiedById")
_CLOSED_S = 60.0
_TRIGGER = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
_FOR_ALL = frozenset({"INVALID_FIELD", "INVALID_TYPE"})  # true of every record alike: the same fields are written

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
    ) -> None:
        self._tokens = tokens
        self._mapping = mapping
        self._version = version
        self._http = _http_session(client_name, ca_file)
        self._client: tuple[str, Any] | None = None
        self._described: dict[str, dict[str, FieldInfo]] = {}
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
        return self._described[name]

    def limits(self) -> Mapping[str, Mapping[str, int]]:
        """The org's limits, each with Max and Remaining."""
        answer: Mapping[str, Mapping[str, int]] = self._call(lambda client: client.limits())
        return answer

    # --- writing

    def write(self, writes: Sequence[WriteBack]) -> list[Written]:
        """Show these leads' states in Salesforce; one result a lead, in order. Repeating it changes nothing."""
        results: list[Written] = []
        for start in range(0, len(writes), MOST):
            results += self._write(writes[start : start + MOST])
        return results

    def _write(self, writes: Sequence[WriteBack]) -> list[Written]:
        try:
            results = self._patch(writes)
        except GiveUp as exc:
            if exc.facts.get("status") != requests.codes.bad_request:
                raise
            return self._narrow(writes, exc)
        # A trigger's failure may pass; once is enough to know.
        failed = [n for n, result in enumerate(results) if result.code == _TRIGGER and result.outcome is Outcome.PARK]
        for n, again in zip(failed, self._patch([writes[n] for n in failed]) if failed else [], strict=True):
            results[n] = again
        return results

    def _narrow(self, writes: Sequence[WriteBack], error: GiveUp) -> list[Written]:
        """Salesforce refused the call as a whole: find the records it cannot read, so that the others are written."""
        code = str(error.facts.get("code", ""))
        if len(writes) == 1 or code in _FOR_ALL:
            return [
                Written(write.lead_id, Outcome.PARK, code, f"{error} `fairturn doctor` says more.") for write in writes
            ]
        middle = len(writes) // 2
        return self._write(writes[:middle]) + self._write(writes[middle:])

    def _patch(self, writes: Sequence[WriteBack]) -> list[Written]:
        body = {"allOrNone": False, "records": [self._mapping.record(write) for write in writes]}
        answer = self._call(lambda client: client.restful("composite/sobjects", method="PATCH", json=body))
        if not isinstance(answer, list) or len(answer) != len(writes):
            raise TryLater("Salesforce answered with other records than were sent")
        return [_written(write, result) for write, result in zip(writes, answer, strict=True)]

    # --- reading

    def read(self, ids: Sequence[str]) -> list[Change]:
        """These records as they are now, deleted and unknown ones as DELETE; what is no record id is left out."""
        wanted = list(dict.fromkeys(long_id(one) for one in ids if is_id(one)))
        found: dict[str, Change] = {}
        for start in range(0, len(wanted), MOST):
            chunk = wanted[start : start + MOST]
            quoted = ",".join(f"'{one}'" for one in chunk)
            rows = self._query(f"{self._select()} WHERE Id IN ({quoted})")
            found |= {change.record_id[:15]: change for change in map(_read_now, rows)}
        return [found.get(one[:15]) or _missing(one) for one in wanted]

    def changed_since(self, at: datetime, *, page: int = PAGE) -> Iterator[list[Change]]:
        """Every record changed at or after this moment, deleted ones too, oldest change first, page by page.

        Pages go by (SystemModstamp, Id), not by a server-side cursor: nothing is lost when it takes days. A record
        that changes meanwhile comes again with its later change.
        """
        where = f"SystemModstamp >= {soql_time(at)}"
        while True:
            query = f"{self._select()} WHERE {where} ORDER BY SystemModstamp, Id LIMIT {page}"
            rows = list(self._query(query))
            if rows:
                yield [_as_of(row) for row in rows]
            if len(rows) < page:
                return
            last, last_id = soql_time(instant(rows[-1]["SystemModstamp"])), long_id(rows[-1]["Id"])
            where = f"(SystemModstamp > {last} OR (SystemModstamp = {last} AND Id > '{last_id}'))"

    def _select(self) -> str:
        """Everything we read and write that the org has: a missing custom field must not stop the reading."""
        known = self.describe(self._mapping.record_type)
        ours = (name for name in (*self._mapping.inputs, *self._mapping.outputs) if name in known)
        names = ", ".join(dict.fromkeys([*_ALWAYS, *ours]))
        return f"SELECT {names} FROM {self._mapping.record_type}"  # noqa: S608 - names checked when the mapping was read

    def _query(self, soql: str) -> Iterator[Mapping[str, Any]]:
        answer = self._call(lambda client: client.query(soql, include_deleted=True))
        while True:
            yield from answer["records"]
            if answer["done"]:
                return
            answer = self._call(partial(_more, url=answer["nextRecordsUrl"]))

    # --- calling

    def _call(self, ask: Callable[[Any], T]) -> T:
        """One call, with one new token when the old one is refused; errors come out in our words."""
        try:
            return self._with_token(ask)
        except OrgClosed as exc:
            raise TryLater(str(exc), pause_s=_CLOSED_S, alarm=True, **exc.facts) from exc

    def _with_token(self, ask: Callable[[Any], T]) -> T:
        session = self._tokens.token()
        try:
            return self._once(session, ask)
        except SalesforceExpiredSession:
            session = self._tokens.refresh(session.access_token)
        try:
            return self._once(session, ask)
        except SalesforceExpiredSession as exc:
            raise translate(exc) from exc

    def _once(self, session: Session, ask: Callable[[Any], T]) -> T:
        client = self._client_of(session)
        try:
            answer = ask(client)
        except SalesforceExpiredSession:
            raise
        except SalesforceError as exc:
            raise translate(exc) from exc
        except requests.exceptions.JSONDecodeError as exc:
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


class _Adapter(HTTPAdapter):
    """Gives every request a time limit and our certificate authority; requests itself has neither."""

    def __init__(self, ca_file: Path | None) -> None:
        super().__init__()
        self._verify = str(ca_file) if ca_file else None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # the same keywords, passed on
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUTS
        if self._verify:
            kwargs["verify"] = self._verify
        return super().send(request, **kwargs)


def _http_session(client_name: str, ca_file: Path | None) -> requests.Session:
    session = requests.Session()
    # On the session and not on a call: simple-salesforce forgets headers of calls when it repeats them.
    session.headers["Sforce-Call-Options"] = f"client={client_name}"
    session.hooks["response"].append(_mind_retry_after)
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(ca_file))
    return session


def _mind_retry_after(response: requests.Response, **_kwargs: Any) -> None:
    """simple-salesforce's exceptions lose the headers, so a wish to be left alone is heard here."""
    wish = response.headers.get("Retry-After", "")
    if response.status_code in {429, 503} and wish.isdigit():
        code, _ = first_error(_json(response))
        raise TryLater("Salesforce asks for a pause", pause_s=float(wish), status=response.status_code, code=code)


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _written(write: WriteBack, result: Mapping[str, Any]) -> Written:
    if result.get("success"):
        return Written(write.lead_id, Outcome.DONE)
    code, message = first_error(result.get("errors"))
    return Written(write.lead_id, outcome_of(code, message), code, " ".join(message.split())[:500])


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


def _missing(record_id: str) -> Change:
    return Change(
        event_id=f"read:{uuid.uuid4()}",
        record_id=record_id,
        change_type="DELETE",
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

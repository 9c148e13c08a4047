"""Query resources: SOQL in, pages out; and what was deleted or updated in a window of time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox import clock, ids
from sandbox.errors import ApiError
from sandbox.query import Reader
from sandbox.rest.call import Call, resource
from sandbox.soql import MalformedQuery, parse
from sandbox.values import Record

MOST_ROWS, LEAST_ROWS = 2000, 200
_MINUTE_MS = 60_000
_LOG_LIFE_MS = int(timedelta(days=30).total_seconds() * 1000)
_LOCATOR_LIFE_MS = int(timedelta(days=2).total_seconds() * 1000)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A running query: its rows as they were found, and when."""

    reader: Reader
    records: list[Record]
    size: int
    at_ms: int


@resource
async def query(call: Call) -> Response:
    return _first(call, deleted=False)


@resource
async def query_all(call: Call) -> Response:
    return _first(call, deleted=True)


def _first(call: Call, *, deleted: bool) -> Response:
    text = call.request.query_params.get("q", "")
    try:
        asked = parse(text)
    except MalformedQuery as error:
        raise ApiError(400, "MALFORMED_QUERY", f"{text[:200]}\n{error}") from None
    reader = Reader(call.org, asked)
    records = reader.records(deleted=deleted)
    if not asked.columns:
        return JSONResponse({"totalSize": len(records), "done": True, "records": []})
    cursor = Cursor(reader, records, _batch_size(call), call.org.clock.now_ms())
    number = len(call.org.cursors) + 1
    locator = ids.mint("01g", number)
    if len(records) > cursor.size:
        call.org.cursors[locator] = cursor
    return _page(call, cursor, locator, 0)


@resource
async def more(call: Call) -> Response:
    locator, _, start = call.at("locator").partition("-")
    cursor = call.org.cursors.get(locator)
    if not isinstance(cursor, Cursor) or not start.isdigit():
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    if call.org.clock.now_ms() - cursor.at_ms > _LOCATOR_LIFE_MS:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "query locator expired")
    return _page(call, cursor, locator, int(start))


def _batch_size(call: Call) -> int:
    options = call.request.headers.get("sforce-query-options", "")
    _, _, asked = options.replace(" ", "").partition("batchSize=")
    return min(max(int(asked), LEAST_ROWS), MOST_ROWS) if asked.isdigit() else MOST_ROWS


def _page(call: Call, cursor: Cursor, locator: str, start: int) -> Response:
    end = start + cursor.size
    answer: dict[str, Any] = {"totalSize": len(cursor.records), "done": end >= len(cursor.records)}
    if not answer["done"]:
        answer["nextRecordsUrl"] = call.url(f"query/{locator}-{end}")
    answer["records"] = [cursor.reader.shown(record, call.version) for record in cursor.records[start:end]]
    return JSONResponse(answer)


@resource
async def updated(call: Call) -> Response:
    start, end = _window(call)
    records = call.org.tables[call.sobject().name].live()
    found = [record["Id"] for record in records if start <= record["SystemModstamp"] <= end]
    return JSONResponse({"ids": found, "latestDateCovered": clock.iso(end)})


@resource
async def deleted(call: Call) -> Response:
    """What the log of deletions tells: by the minute, for thirty days, emptied recycle bins included."""
    start, end = _window(call)
    sobject, now = call.sobject(), call.org.clock.now_ms()
    start, end = start // _MINUTE_MS * _MINUTE_MS, end // _MINUTE_MS * _MINUTE_MS
    if start < now - _LOG_LIFE_MS:
        raise ApiError(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
    records = call.org.tables[sobject.name].records.values()
    gone = [(each["Id"], each["SystemModstamp"]) for each in records if each.get("IsDeleted")]
    gone += [(record_id, at_ms) for name, record_id, at_ms in call.org.purged if name == sobject.name]
    found = [{"id": record_id, "deletedDate": clock.iso(at_ms)} for record_id, at_ms in gone if start <= at_ms <= end]
    earliest = min((at_ms for _, at_ms in gone), default=now)
    return JSONResponse(
        {
            "deletedRecords": found,
            "earliestDateAvailable": clock.iso(earliest),
            "latestDateCovered": clock.iso(min(end, now)),
        }
    )


def _window(call: Call) -> tuple[int, int]:
    params = call.request.query_params
    try:
        start, end = (clock.from_iso(params.get(name, "").replace(" ", "+")) for name in ("start", "end"))
    except ValueError:
        raise ApiError(400, "INVALID_REPLICATION_DATE", "start and end must be ISO 8601 moments with a zone") from None
    if end <= start:
        raise ApiError(400, "INVALID_REPLICATION_DATE", "endDate must be later than startDate")
    return start, end

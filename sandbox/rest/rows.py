"""sObject rows: one record at a time, by id or by an external id."""

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox import ids, values
from sandbox.errors import ApiError
from sandbox.rest.call import Call, nothing, resource
from sandbox.rest.strikes import strike
from sandbox.schema import Field, SObject
from sandbox.values import Record


@resource
async def create(call: Call) -> Response:
    sobject, raw = call.sobject(), await call.mapping()
    strike(call.org, "create", sobject, raw)
    work = call.transaction()
    record_id = work.insert(sobject, raw)
    work.commit()
    return JSONResponse({"id": record_id, "success": True, "errors": []}, 201)


@resource
async def read(call: Call) -> Response:
    record = _row(call)
    _unless_unmodified(call, record)
    if _since(call, "if-modified-since", default=-1) >= record["LastModifiedDate"]:
        return Response(status_code=304)
    shown = represented(call, call.sobject(), record, _wanted(call))
    return JSONResponse(shown, headers={"Last-Modified": _http_date(record["LastModifiedDate"])})


@resource
async def update(call: Call) -> Response:
    sobject, raw, record = call.sobject(), await call.mapping(), _row(call)
    _unless_unmodified(call, record)
    strike(call.org, "update", sobject, {**raw, "Id": record["Id"]})
    work = call.transaction()
    work.update(sobject, record["Id"], raw)
    work.commit()
    return nothing()


@resource
async def delete(call: Call) -> Response:
    sobject, record = call.sobject(), _row(call)
    strike(call.org, "delete", sobject, record)
    work = call.transaction()
    work.delete(sobject, record["Id"])
    work.commit()
    return nothing()


@resource
async def read_by_key(call: Call) -> Response:
    sobject = call.sobject()
    holders = call.org.tables[sobject.name].holders(external_id(sobject, call.at("key")).name, call.at("value"))
    if not holders:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    record = call.org.tables[sobject.name].records[next(iter(holders))]
    return JSONResponse(represented(call, sobject, record, _wanted(call)))


@resource
async def upsert(call: Call) -> Response:
    sobject, raw = call.sobject(), await call.mapping()
    key, value = external_id(sobject, call.at("key")), call.at("value")
    holders = call.org.tables[sobject.name].holders(key.name, value)
    if len(holders) > 1:
        found = [call.url(f"sobjects/{sobject.name}/{holder}") for holder in sorted(holders)]
        return JSONResponse(found, 300)
    if not holders and call.request.query_params.get("updateOnly") == "true":
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    strike(call.org, "upsert", sobject, {**raw, key.name: value})
    work = call.transaction()
    record_id, created = work.upsert(sobject, key, value, raw)
    work.commit()
    answer = {"id": record_id, "success": True, "errors": [], "created": created}
    return JSONResponse(answer, 201 if created else 200)


def external_id(sobject: SObject, name: str) -> Field:
    field = sobject.by_name.get(name.lower())
    if field is None or not field.external_id:
        raise ApiError(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    return field


def _row(call: Call) -> Record:
    """The live record the address names. 404 says deleted or never there."""
    record_id = ids.full(call.at("id"))
    record = call.org.tables[call.sobject().name].records.get(record_id or "")
    if record is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    if record.get("IsDeleted"):
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted")
    return record


def _wanted(call: Call) -> list[str]:
    return [name.strip() for name in call.request.query_params.get("fields", "").split(",") if name.strip()]


def represented(call: Call, sobject: SObject, record: Record, wanted: list[str]) -> dict[str, Any]:
    """The record as JSON; all its fields when none are named."""
    shown: dict[str, Any] = {
        "attributes": {"type": sobject.name, "url": call.url(f"sobjects/{sobject.name}/{record['Id']}")}
    }
    fields = [_field(sobject, name) for name in wanted] or sobject.fields
    for field in fields:
        shown[field.name] = values.shown(field, record)
    shown.setdefault("Id", record["Id"])
    return shown


def _field(sobject: SObject, name: str) -> Field:
    field = sobject.by_name.get(name.lower())
    if field is None:
        raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on entity '{sobject.name}'.")
    return field


def _since(call: Call, header: str, default: int) -> int:
    """The header's moment in ms; `default` when it is absent. 400 when it is no HTTP date."""
    text = call.request.headers.get(header)
    if text is None:
        return default
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except ValueError:
        raise ApiError(400, "INVALID_HEADER", f"{header}: not an HTTP date: {text}") from None


def _unless_unmodified(call: Call, record: Record) -> None:
    modified: int = record["LastModifiedDate"]
    if _since(call, "if-unmodified-since", default=modified) < modified:
        raise ApiError(412, "PRECONDITION_FAILED", "The record was modified after the moment of If-Unmodified-Since")


def _http_date(ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)

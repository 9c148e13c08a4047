"""sObject Collections: up to 200 records a call, each with its own result."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox import ids
from sandbox.errors import ApiError, RecordError, bad_json
from sandbox.org import Org
from sandbox.rest.call import Call, resource
from sandbox.rest.rows import external_id, represented
from sandbox.rest.strikes import strike
from sandbox.schema import SObject
from sandbox.transaction import Transaction

MOST_RECORDS, MOST_CHUNKS = 200, 10
_ROLLED_BACK = RecordError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)
Raw = Mapping[str, Any]
Result = dict[str, Any]
Write = Callable[[Transaction, SObject, Raw], Result]


@resource
async def create(call: Call) -> Response:
    return await _collection(call, "create", _inserted)


@resource
async def update(call: Call) -> Response:
    return await _collection(call, "update", _updated)


@resource
async def upsert(call: Call) -> Response:
    key = external_id(call.sobject(), call.at("key"))

    def upserted(work: Transaction, sobject: SObject, raw: Raw) -> Result:
        value = next((value for name, value in raw.items() if name.lower() == key.name.lower()), None)
        if value is None:
            raise RecordError("MISSING_ARGUMENT", f"{key.name} not specified", (key.name,))
        record_id, created = work.upsert(sobject, key, value, raw)
        return {**_done(record_id), "created": created}

    return await _collection(call, "upsert", upserted)


@resource
async def delete(call: Call) -> Response:
    params = call.request.query_params
    wanted = [each.strip() for each in params.get("ids", "").split(",") if each.strip()]
    rows: list[Raw] = [{"Id": each, "attributes": {"type": _type_name(call.org, each)}} for each in wanted]
    return _written(call, "delete", _deleted, rows, all_or_none=params.get("allOrNone") == "true")


@resource
async def fetch(call: Call) -> Response:
    sobject, body = call.sobject(), await call.mapping()
    wanted, fields = body.get("ids"), body.get("fields")
    if not (isinstance(wanted, list) and isinstance(fields, list)):
        raise bad_json("ids and fields must be lists")
    table = call.org.tables[sobject.name].records
    found = [table.get(ids.full(str(each)) or "") for each in wanted]
    shown = [
        represented(call, sobject, record, fields) if record and not record.get("IsDeleted") else None
        for record in found
    ]
    return JSONResponse(shown)


def _type_name(org: Org, record_id: str) -> str:
    sobject = org.type_of(record_id)
    if sobject is None:
        raise ApiError(400, "MALFORMED_ID", f"malformed id {record_id}")
    return sobject.name


async def _collection(call: Call, verb: str, write: Write) -> Response:
    body = await call.mapping()
    rows = body.get("records")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise bad_json("records must be a list of objects")
    return _written(call, verb, write, rows, all_or_none=bool(body.get("allOrNone", False)))


def _written(call: Call, verb: str, write: Write, rows: list[Raw], *, all_or_none: bool) -> Response:
    if len(rows) > MOST_RECORDS:
        message = f"record limit reached. cannot submit more than {MOST_RECORDS} records in this request"
        raise ApiError(400, "INVALID_INPUT", message)
    types = [_object(call.org, row) for row in rows]
    if sum(left is not right for left, right in zip([None, *types], types, strict=False)) > MOST_CHUNKS:
        message = "record chunk limit reached. cannot submit more than 10 chunks in this request"
        raise ApiError(400, "INVALID_INPUT", message)
    work = call.transaction(collection=True)
    try:
        results = [_one(work, verb, write, sobject, row) for sobject, row in zip(types, rows, strict=True)]
    except ApiError:
        work.undo()
        raise
    if all_or_none and not all(result["success"] for result in results):
        work.undo()
        results = [_failed(_ROLLED_BACK) if result["success"] else result for result in results]
    work.commit()
    return JSONResponse(results)


def _object(org: Org, row: Raw) -> SObject:
    attributes = row.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if not name:
        raise ApiError(400, "INVALID_INPUT", "Include an sObject type in the attributes of each record.")
    sobject = org.sobject(str(name))
    if sobject is None:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return sobject


def _one(work: Transaction, verb: str, write: Write, sobject: SObject, row: Raw) -> Result:
    try:
        strike(work.org, verb, sobject, row)
        return write(work, sobject, row)
    except RecordError as error:
        return _failed(error)


def _done(record_id: str) -> Result:
    return {"id": record_id, "success": True, "errors": []}


def _failed(error: RecordError) -> Result:
    return {"success": False, "errors": [error.as_collection_error()]}


def _inserted(work: Transaction, sobject: SObject, raw: Raw) -> Result:
    return _done(work.insert(sobject, raw))


def _updated(work: Transaction, sobject: SObject, raw: Raw) -> Result:
    record_id = raw.get("Id", raw.get("id"))
    if not record_id:
        raise RecordError("MISSING_ARGUMENT", "Id not specified in an update call")
    record = work.existing(sobject, str(record_id))
    work.update(sobject, record["Id"], raw)
    return _done(record["Id"])


def _deleted(work: Transaction, sobject: SObject, raw: Raw) -> Result:
    record = work.existing(sobject, raw["Id"])
    work.delete(sobject, record["Id"])
    return _done(record["Id"])

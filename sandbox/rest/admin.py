"""Doors for tests, below /sandbox/: the clock, faults, odd events, and a look inside. No login."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox import clock, trailers, values
from sandbox.cdc import WILDCARD_ID, bare_draft
from sandbox.errors import ApiError, RecordError, bad_json, refused
from sandbox.faults import PLACES
from sandbox.org import ADMIN, AUTOMATED, Actor, Org
from sandbox.rest import call, strikes
from sandbox.rest.call import answer_error
from sandbox.schema import SObject, field_of
from sandbox.transaction import Transaction
from sandbox.verbs import Conversion, convert, merge, place

_ERRORS: Mapping[str, Collection[str]] = {
    "stream": trailers.NAMED,
    "call": trailers.NAMED,
    "http": call.NAMED,
    "record": strikes.NAMED,
}
Handler = Callable[[Org, dict[str, Any]], Any]
Endpoint = Callable[[Request], Awaitable[Response]]


def door(handler: Handler) -> Endpoint:
    """Serves a handler of (org, body and query) whose answer is JSON; what it refuses is a 400 that says why."""

    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            body = await request.json() if await request.body() else {}
            return JSONResponse(handler(request.app.state.org, {**request.query_params, **body}))
        except RecordError as error:
            return answer_error(refused(error))
        except ApiError as error:
            return answer_error(error)
        except KeyError as error:
            return answer_error(bad_json(f"{error.args[0]} is missing or unknown"))
        except (ValueError, TypeError) as error:
            return answer_error(bad_json(str(error)))

    return endpoint


def _object(org: Org, name: str) -> SObject:
    found = org.sobject(name)
    if found is None:
        raise ApiError(404, "NOT_FOUND", f"no object {name}")
    return found


@door
def read_clock(org: Org, _body: dict[str, Any]) -> Any:
    return {"now": clock.iso(org.clock.now_ms()), "offset_s": org.clock.offset_ms / 1000}


@door
def set_clock(org: Org, body: dict[str, Any]) -> Any:
    """`advance_s`, `offset_s` or `now` (ISO 8601)."""
    if "now" in body:
        org.clock.set(clock.from_iso(body["now"]))
    if "offset_s" in body:
        org.clock.offset_ms = int(float(body["offset_s"]) * 1000)
    org.clock.advance(float(body.get("advance_s", 0)))
    return {"now": clock.iso(org.clock.now_ms()), "offset_s": org.clock.offset_ms / 1000}


@door
def list_faults(org: Org, _body: dict[str, Any]) -> Any:
    return {"standing": org.faults.listed(), "known": {place: sorted(kinds) for place, kinds in PLACES.items()}}


@door
def add_fault(org: Org, body: dict[str, Any]) -> Any:
    known, name = _ERRORS.get(body.get("place", "")), body.get("args", {}).get("name")
    if known is not None and name is not None and name not in known:
        raise ValueError(f"no error {name!r} at {body['place']}; there are {sorted(known)}")
    fault = org.faults.add(body)
    org.bus.wake()
    return {"id": fault.id}


@door
def clear_faults(org: Org, _body: dict[str, Any]) -> Any:
    gone = len(org.faults.standing)
    org.faults.standing.clear()
    return {"cleared": gone}


@door
def hurry(org: Org, _body: dict[str, Any]) -> Any:
    """Applies now what `late_apply` holds back."""
    org.hurry.set()
    org.hurry = asyncio.Event()
    return {"late": len(org.late)}


@door
def gap(org: Org, body: dict[str, Any]) -> Any:
    """A gap event: `type` (UPDATE), `object` (Lead), `ids` (real or wildcard such as 00Q*)."""
    sobject = _object(org, body.get("object", "Lead"))
    return _bare(org, sobject, f"GAP_{body.get('type', 'UPDATE')}", list(body["ids"]))


@door
def overflow(org: Org, body: dict[str, Any]) -> Any:
    return _bare(org, _object(org, body.get("object", "Lead")), "GAP_OVERFLOW", [WILDCARD_ID])


def _bare(org: Org, sobject: SObject, kind: str, record_ids: list[str]) -> Any:
    commit = org.next_commit(Actor(org.user_named(AUTOMATED)))
    draft = bare_draft(kind, record_ids, commit, org.current[sobject.name], sobject.name)
    return {"events": [event.event_id for event in org.publish([draft])]}


@door
def merged(org: Org, body: dict[str, Any]) -> Any:
    """The same `fields` written to several `ids` in one transaction: one event tells of all of them."""
    sobject = _object(org, body.get("object", "Lead"))
    work = Transaction(org, Actor(org.user_named(body.get("user", AUTOMATED))))
    for record_id in body["ids"]:
        work.update(sobject, record_id, body["fields"])
    work.commit()
    return {"changed": len(work.changes)}


@door
def converted(org: Org, body: dict[str, Any]) -> Any:
    """Converts a lead: SOAP's names (leadId, convertedStatus, accountId, doNotCreateOpportunity ...)."""
    work = Transaction(org, Actor(org.user_named(body.get("user", ADMIN))))
    made = convert(work, Conversion.of(body))
    work.commit()
    return made


@door
def absorbed(org: Org, body: dict[str, Any]) -> Any:
    """Merges `losers` into `master`: records that become one, as the user interface does it."""
    work = Transaction(org, Actor(org.user_named(body.get("user", ADMIN))))
    merge(work, _object(org, body.get("object", "Lead")), body["master"], list(body["losers"]), body.get("fields"))
    work.commit()
    return {"changed": len(work.changes)}


@door
def undeleted(org: Org, body: dict[str, Any]) -> Any:
    work = Transaction(org, Actor(org.user_named(body.get("user", ADMIN))))
    for record_id in body["ids"]:
        work.undelete(_object(org, body.get("object", "Lead")), record_id)
    work.commit()
    return {"changed": len(work.changes)}


@door
def purged(org: Org, body: dict[str, Any]) -> Any:
    """Destroys records: those of `ids`, else all in the recycle bin. No event tells of it."""
    sobject = _object(org, body.get("object", "Lead"))
    in_bin = (each["Id"] for each in org.tables[sobject.name].records.values() if each.get("IsDeleted"))
    return {"purged": sum(org.purge(sobject, each) for each in list(body.get("ids", in_bin)))}


@door
def records(org: Org, body: dict[str, Any]) -> Any:
    """What the org holds, as REST would show it, deleted ones too: at most `limit`, by id, after the id `after`."""
    sobject = _object(org, body.get("object", "Lead"))
    after, limit = str(body.get("after", "")), int(body.get("limit", 5_000))
    table = org.tables[sobject.name].records
    chosen = sorted(each for each in table if each > after)[:limit]
    shown = [{field.name: values.shown(field, table[each]) for field in sobject.fields} for each in chosen]
    return {"records": shown, "done": len(chosen) < limit}


@door
def geocoded(org: Org, body: dict[str, Any]) -> Any:
    """The org's own geocoding of one lead, now: `id`, `latitude`, `longitude`, `accuracy`."""
    spot = (float(body["latitude"]), float(body["longitude"]))
    place(org, body["id"], spot, body.get("accuracy", "Zip"))
    return {"id": body["id"]}


@door
def select(org: Org, body: dict[str, Any]) -> Any:
    """Objects selected for Change Data Capture: `add` and `remove` lists."""
    org.selected |= {_object(org, name).name for name in body.get("add", ())}
    org.selected -= set(body.get("remove", ()))
    org.journal.flush(org)
    return {"selected": sorted(org.selected)}


@door
def redeliver(org: Org, body: dict[str, Any]) -> Any:
    """The last `count` events once more, under other replay ids."""
    again = org.bus.events[-int(body.get("count", 1)) :]
    for event in again:
        org.bus.event(event.entity, event.schema_id, event.payload, event_id=event.event_id)
    return {"events": [event.event_id for event in again]}


@door
def fields(org: Org, body: dict[str, Any]) -> Any:
    """Adds a field to `object` (name, type, length ...), or removes it: {"object", "remove": name}."""
    row = dict(body)
    sobject = _object(org, row.pop("object", "Lead"))
    if "remove" in row:
        org.remove_field(sobject.name, row["remove"])
    else:
        org.add_field(sobject.name, field_of(row))
    return {"schema_id": org.current[sobject.name].id}


@door
def state(org: Org, _body: dict[str, Any]) -> Any:
    return {
        "org_id": org.id,
        "records": {name: sum(1 for _ in table.live()) for name, table in org.tables.items()},
        "events": len(org.bus.events),
        "changes": len(org.history),
        "sessions": len(org.sessions),
        "api_calls": sum(org.api_calls.values()),
        "delivered": sum(org.delivered.values()),
        "late": len(org.late),
        "options": {name: getattr(org.options, name) for name in org.options.__slots__},
        "selected": sorted(org.selected & org.types.keys()),
    }


@door
def history(org: Org, body: dict[str, Any]) -> Any:
    """Committed changes after number `after`, at most `limit`; of one `object`, if named."""
    after, limit, name = int(body.get("after", 0)), int(body.get("limit", 10_000)), body.get("object")
    found = [row for row in org.history[after:] if name in {None, row["object"]}]
    return {"changes": found[:limit], "total": len(org.history)}


@door
def options(org: Org, body: dict[str, Any]) -> Any:
    for name, value in body.items():
        if name not in org.options.__slots__:
            raise ValueError(f"no option {name!r}; there are {org.options.__slots__}")
        setattr(org.options, name, type(getattr(org.options, name))(value))
    return {name: getattr(org.options, name) for name in org.options.__slots__}


async def revoke(request: Request) -> Response:
    """Ends all sessions, or one `token`; `streams` true cuts the open streams as well."""
    org: Org = request.app.state.org
    body = await request.json() if await request.body() else {}
    doomed = [body["token"]] if "token" in body else list(org.sessions)
    ended = sum(org.sessions.pop(token, None) is not None for token in doomed)
    cut = request.app.state.service.cut("auth_error") if body.get("streams") else 0
    return JSONResponse({"revoked": ended, "streams": cut})


async def reset(request: Request) -> Response:
    """The org as it started; open streams end like a broken connection."""
    org: Org = request.app.state.org
    org.reset()
    cut = request.app.state.service.cut("rst_stream")
    return JSONResponse({"org_id": org.id, "streams": cut})


async def cut(request: Request) -> Response:
    """Ends every open stream with the error of that `name`; like a broken connection when none is named."""
    body = await request.json() if await request.body() else {}
    name = body.get("name", "rst_stream")
    if name not in trailers.NAMED:
        return answer_error(bad_json(f"no error {name!r}; there are {sorted(trailers.NAMED)}"))
    return JSONResponse({"streams": request.app.state.service.cut(name)})

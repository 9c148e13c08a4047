"""Events of the change stream in our words."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateways.salesforce.proto.pubsub_api_pb2 import ConsumerEvent
from gateways.salesforce.schema import Schema, Schemas, Undecodable
from gateways.salesforce.words import long_id
from routing.change import Change, Unreadable

_FULL = frozenset({"CREATE", "UNDELETE", "SNAPSHOT"})


class Decoder:
    """Turns events into changes of one kind of record; those of other kinds are nothing to us."""

    def __init__(self, schemas: Schemas, *, entity: str = "Lead") -> None:
        self._schemas = schemas
        self._entity = entity

    def read(self, consumed: ConsumerEvent) -> list[Change] | Unreadable:
        """One Change a record, or the raw event with the reason why it cannot be read.

        Raises what fetching a schema raises: then it is the neighbour that is unwell, not the event.
        """
        event = consumed.event
        if not event.schema_id:
            return _unreadable(consumed, "It names no schema", "subscribe to the topic of one object")
        try:
            schema = self._schemas.get(event.schema_id)
            return self._changes(consumed, schema, *schema.read(event.payload))
        except (Undecodable, KeyError, TypeError, ValueError, OverflowError) as exc:
            why = exc if isinstance(exc, Undecodable) else f"{type(exc).__name__} in its header"
            return _unreadable(consumed, f"It cannot be decoded ({why})", "replay it once the cause is mended")

    def _changes(
        self, consumed: ConsumerEvent, schema: Schema, header: Mapping[str, Any], body: dict[str, object]
    ) -> list[Change]:
        if header["entityName"] != self._entity:
            return []
        records = header["recordIds"]
        if not records:
            raise Undecodable("it names no record")
        changed, nulled = schema.names(header["changedFields"]), schema.names(header["nulledFields"])
        kind = header["changeType"]
        if kind == "DELETE" or kind.startswith("GAP_"):
            body = {}
        elif kind not in _FULL:
            body |= dict.fromkeys(nulled)
        if kind == "UPDATE" and not _tells_all(header, changed, body):
            kind, body = "GAP_UPDATE", {}
        if kind in _FULL and len(records) > 1:
            # A whole record cannot be true of several: what each of them holds is asked for.
            kind, body = f"GAP_{kind}", {}
        one = Change(
            event_id=_identity(consumed),
            record_id=long_id(records[0]),
            change_type=kind,
            replay_id=consumed.replay_id,
            committed_at=datetime.fromtimestamp(header["commitTimestamp"] / 1000, tz=UTC),
            origin=header["changeOrigin"],
            commit_user=long_id(header["commitUser"]),
            commit_number=header["commitNumber"],
            sequence_number=header["sequenceNumber"],
            changed=changed,
            nulled=nulled,
            body=body,
        )
        if len(records) == 1:
            return [one]
        return [replace(one, record_id=record) for record in dict.fromkeys(map(long_id, records))]


def _tells_all(header: Mapping[str, Any], changed: tuple[str, ...], body: Mapping[str, object]) -> bool:
    """Whether every changed field's new value is here.

    It is not when a long text comes as a diff, or when a changed field is null without being marked as emptied: such
    an update is told as a gap, so that the record is read again.
    """
    return not header["diffFields"] and all(name in body for name in changed)


def _unreadable(consumed: ConsumerEvent, what: str, fix: str) -> Unreadable:
    event = consumed.event
    return Unreadable(_identity(consumed), consumed.replay_id, event.schema_id, event.payload, f"{what}: {fix}.")


def _identity(consumed: ConsumerEvent) -> str:
    return consumed.event.id or f"replay:{consumed.replay_id.hex()}"

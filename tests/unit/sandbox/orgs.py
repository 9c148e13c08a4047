"""An org to write to without a process around it."""

import io
import json
from typing import Any

import fastavro

from sandbox.bus import Event
from sandbox.org import ADMIN, Actor, Org, new_org
from sandbox.transaction import Transaction

A_LEAD = {"LastName": "Doe", "Company": "Acme"}


def an_org() -> Org:
    return new_org(seed=7)


def work_of(org: Org, origin: str = "") -> Transaction:
    return Transaction(org, Actor(org.user_named(ADMIN), origin))


def a_lead(org: Org, **fields: Any) -> str:
    work = work_of(org)
    record_id = work.insert(org.types["Lead"], {**A_LEAD, **fields})
    work.commit()
    return record_id


def update(org: Org, record_id: str, **fields: Any) -> None:
    work = work_of(org)
    work.update(org.types["Lead"], record_id, fields)
    work.commit()


def read(org: Org, event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and the non-null body of an event."""
    schema = fastavro.parse_schema(json.loads(org.schemas[event.schema_id].json))
    body: Any = fastavro.schemaless_reader(io.BytesIO(event.payload), schema)
    header = body.pop("ChangeEventHeader")
    return header, {name: value for name, value in body.items() if value is not None}


def told(org: Org, *names: str) -> list[str]:
    """The bitmap array that names these fields, by hand from the schema."""
    schema = org.current["Lead"]
    top = sum(1 << schema.top[name] for name in names if name in schema.top)
    nested: dict[int, int] = {}
    for name in names:
        if name in schema.nested:
            parent, _, inner, _ = schema.nested[name]
            nested[parent] = nested.get(parent, 0) | 1 << inner
    even = [f"{bits:X}" for bits in ([top] if top else [])]
    inner_parts = [f"{parent}-0x{_even(f'{bits:X}')}" for parent, bits in sorted(nested.items())]
    return [f"0x{_even(digits)}" for digits in even] + inner_parts


def _even(digits: str) -> str:
    return "0" * (len(digits) % 2) + digits

"""Rows for the ledger, made directly: a lead here, a decision there."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.decision import Decision, Gate, Weighed
from routing.policy import Mode, Tier
from storage.postgres.decided import write_decisions
from storage.postgres.members import MemberRow, Members
from storage.postgres.policies import Policies
from storage.postgres.tables import leads, markets, members, offers, outbox
from storage.postgres.timeline import Happening, add_many

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def add_members(engine: sa.Engine, count: int, *, market: str = "us", **over: Any) -> list[int]:
    rows = [MemberRow(key=f"{market}-{n}", name=f"Solar {n}", market=market, **over) for n in range(1, count + 1)]
    return list(Members(engine).upsert(rows, actor="test").member_ids_changed)


def publish(engine: sa.Engine, *, capacity: int = 5, reassignments: int = 3, market: str = "us") -> int:
    document = {"pools": [{"name": "installers", "reassignments": reassignments}], "capacity": capacity}
    return Policies(engine).publish(
        document, [], Tier("standard", 1, capacity), [("installers", market, "fair")], actor="test"
    )


def add_lead(connection: sa.Connection, number: int, **over: Any) -> int:
    values = {"salesforce_id": f"00Q{number:015}", "source_id": f"csv-{number}", "received_at": NOON} | over
    lead: int = connection.execute(sa.insert(leads).values(values).returning(leads.c.id)).scalar_one()
    return lead


def decision(lead: int, chosen: int | None, weighed: Sequence[Weighed], *, seq: int, **over: Any) -> Decision:
    values: dict[str, Any] = {
        "id": uuid4(),
        "lead": lead,
        "attempt": 1,
        "at": NOON + timedelta(milliseconds=seq),
        "market": "us",
        "pool": "installers",
        "rotation": "installers" if chosen else "",
        "mode": Mode.FAIR,
        "rings_m": (8046.72, 24140.16),
        "ring": 0 if chosen else None,
        "policy_version": 1,
        "roster_version": 1,
        "generation": 1,
        "seq": seq,
        "chosen": chosen,
        "reason": "chosen" if chosen else "no_room",
        "weighed": tuple(weighed),
    }
    return Decision(**(values | over))


def weighed(member: int, **over: Any) -> Weighed:
    values: dict[str, Any] = {
        "distance_m": 1609.3,
        "ring": 0,
        "weight": 1000,
        "capacity": 5,
        "tier_rank": 1,
        "gate": Gate.ELIGIBLE,
    }
    return Weighed(member=member, **(values | over))


def add_decisions(connection: sa.Connection, made: Sequence[Decision]) -> None:
    connection.execute(insert(markets).values(name="us").on_conflict_do_nothing())
    write_decisions(connection, made)


def add_offer(connection: sa.Connection, made: Decision, **over: Any) -> UUID:
    """The offer of a decision, the member's count and the lead's state with it; both outbox rows as they are due."""
    state = over.get("state", "offered")
    values = {
        "id": made.id,
        "lead_id": made.lead,
        "member_id": made.chosen,
        "market": made.market,
        "attempt": made.attempt,
        "distance_m": 1609.3,
        "ring_m": 8046.72,
        "offered_at": made.at,
        "expires_at": made.at + timedelta(hours=4),
        "ended_at": None if state in ("offered", "accepted") else made.at + timedelta(hours=4),
    }
    connection.execute(sa.insert(offers).values(values | over))
    told = [Happening(made.lead, what, detail={"offer": str(made.id)}) for what in {"offered", state}]
    add_many(connection, told)
    if state in ("offered", "accepted"):
        connection.execute(sa.update(members).where(members.c.id == made.chosen).values(open=members.c.open + 1))
        version = connection.execute(
            sa.update(leads)
            .where(leads.c.id == made.lead)
            .values(state=state, reason=None, version=leads.c.version + 1, attempt=made.attempt)
            .returning(leads.c.version)
        ).scalar_one()
        queue(connection, "salesforce", made.lead, version)
    else:
        queue(connection, "turnstile", made.lead, 0, offer_id=made.id)
    return made.id


def queue(connection: sa.Connection, kind: str, lead: int, version: int, **over: Any) -> int:
    values: Mapping[str, Any] = {"kind": kind, "lead_id": lead, "version": version} | over
    row: int = connection.execute(sa.insert(outbox).values(values).returning(outbox.c.id)).scalar_one()
    return row

"""The ledger as plain records, so that anyone can recount it without our code."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from routing.decision import Gate
from storage.postgres.engine import guarded
from storage.postgres.tables import corrections, decisions, leads, members, offers, places, tiers

MILE_M = 1609.344
TURN = 1_000_000  # micro-turns
REASONS = {gate.value: gate.name.lower() for gate in Gate}

Record = dict[str, Any]


class Export:
    """Records are streamed in one snapshot each: a long export neither fills the memory nor stops the house."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def decisions(self) -> Generator[Record, None, None]:
        """Every routing choice of a market in the order they were made, with all candidates looked at.

        `standing_before` is in turns, as the chooser saw it; `ring_miles` of a candidate is the ring it lies in.
        """
        with stream(self._engine) as connection:
            keys = member_keys(connection)
            query = sa.select(decisions).order_by(decisions.c.market, decisions.c.generation, decisions.c.seq)
            for row in rows(connection, query):
                yield _decision(row, keys)

    def corrections(self) -> Generator[Record, None, None]:
        """Every turn that was set right, in one order with a market's decisions; `turns` add up to zero."""
        order = corrections.c.market, corrections.c.generation, corrections.c.seq
        with stream(self._engine) as connection:
            keys = member_keys(connection)
            for row in rows(connection, sa.select(corrections).order_by(*order)):
                yield {
                    "correction_id": str(row.id),
                    "offer_id": None if row.offer_id is None else str(row.offer_id),
                    "at": iso(row.at),
                    "market": row.market,
                    "rotation": row.rotation,
                    "generation": row.generation,
                    "seq": row.seq,
                    "effect": row.effect,
                    "reason": row.reason,
                    "actor": row.actor,
                    "turns": [
                        {"member": keys[member], "turns": delta / TURN, "turns_micro": delta}
                        for member, delta in zip(row.member, row.delta, strict=True)
                    ],
                }

    def offers(self) -> Generator[Record, None, None]:
        """Every offer that lived, oldest first."""
        query = (
            sa.select(offers, members.c.key)
            .join(members)
            .where(offers.c.state != "void")
            .order_by(offers.c.offered_at, offers.c.id)
        )
        with stream(self._engine) as connection:
            for row in rows(connection, query):
                yield {
                    "offer_id": str(row.id),
                    "lead_id": str(row.lead_id),
                    "member": row.key,
                    "attempt": row.attempt,
                    "state": row.state,
                    "reason": row.reason,
                    "distance_miles": miles(row.distance_m),
                    "ring_miles": miles(row.ring_m),
                    "offered_at": iso(row.offered_at),
                    "expires_at": iso(row.expires_at),
                    "ended_at": iso(row.ended_at),
                }

    def leads(self) -> Generator[Record, None, None]:
        """Every lead, by id; without personal data."""
        with stream(self._engine) as connection:
            for row in rows(connection, sa.select(leads).order_by(leads.c.id)):
                yield {
                    "lead_id": str(row.id),
                    "source_id": row.source_id,
                    "salesforce_id": row.salesforce_id,
                    "state": row.state,
                    "reason": row.reason,
                    "attempt": row.attempt,
                    "priority": row.priority,
                    "pool": row.pool,
                    "country": row.country,
                    "lat": row.lat,
                    "lon": row.lon,
                    "geo_precision": row.geo_precision,
                    "geo_provider": row.geo_provider,
                    "nearest_miles": miles(row.nearest_m),
                    "received_at": iso(row.received_at),
                }

    def members(self) -> Generator[Record, None, None]:
        """Every member by its outside key, with the capacity and weight in force."""
        with stream(self._engine) as connection:
            for row in rows(connection, _MEMBERS):
                yield {
                    "member": row.key,
                    "name": row.name,
                    "market": row.market,
                    "tier": row.tier,
                    "weight": None if row.weight is None else row.weight / 1000,
                    "capacity": row.capacity,
                    "open": row.open,
                    "active": row.active,
                    "salesforce_id": row.salesforce_id,
                    "places": [{"lat": lat, "lon": lon} for lat, lon in row.places or ()],
                }


@contextmanager
def stream(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that nobody hurries, for `rows` that are fetched as they are read."""
    with guarded(), engine.connect() as connection:
        connection.execute(_NO_HURRY)
        yield connection


def rows(connection: sa.Connection, query: sa.Executable) -> Iterator[Any]:
    """The rows of a query by a server-side cursor, which is closed when the reader stops."""
    options = {"stream_results": True, "max_row_buffer": 1000}
    with connection.execute(query, execution_options=options) as result:
        yield from result


_NO_HURRY = sa.text("""
    SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)
""")
_TIER, _DEFAULT = tiers.alias("tier_of"), tiers.alias("default_tier")
_MEMBERS = (
    sa.select(
        members.c.key,
        members.c.name,
        members.c.market,
        members.c.tier,
        sa.func.coalesce(members.c.weight, _TIER.c.weight, _DEFAULT.c.weight).label("weight"),
        sa.func.coalesce(members.c.capacity, _TIER.c.capacity, _DEFAULT.c.capacity).label("capacity"),
        members.c.open,
        members.c.active,
        members.c.salesforce_id,
        sa.select(sa.func.json_agg(sa.func.json_build_array(places.c.lat, places.c.lon)))
        .where(places.c.member_id == members.c.id)
        .scalar_subquery()
        .label("places"),
    )
    .join(_TIER, _TIER.c.name == members.c.tier, isouter=True)
    .join(_DEFAULT, _DEFAULT.c.name == "", isouter=True)
    .order_by(members.c.id)
)


def member_keys(connection: sa.Connection) -> dict[int, str]:
    """The outside key of every member."""
    return {row.id: row.key for row in connection.execute(sa.select(members.c.id, members.c.key))}


def miles(metres: float | None) -> float | None:
    """Miles to five decimals, which is less than two centimetres."""
    return None if metres is None else round(metres / MILE_M, 5)


def iso(at: Any) -> str | None:
    return None if at is None else at.isoformat()


def _decision(row: Any, keys: dict[int, str]) -> Record:
    rings = [miles(ring) for ring in row.rings_m]
    return {
        "decision_id": str(row.id),
        "lead_id": str(row.lead_id),
        "at": iso(row.at),
        "attempt": row.attempt,
        "market": row.market,
        "pool": row.pool,
        "rotation": row.rotation,
        "mode": row.mode,
        "ring_miles": None if row.ring is None else rings[row.ring],
        "rings_miles": rings,
        "policy_version": row.policy_version,
        "roster_version": row.roster_version,
        "generation": row.generation,
        "seq": row.seq,
        "chosen": None if row.chosen is None else keys[row.chosen],
        "reason": row.reason,
        "nearest_miles": miles(row.nearest_m),
        "rule": row.rule,
        "units": row.units,
        "turn_micro": row.turn,
        "candidates": [
            {
                "member": keys[member],
                "distance_miles": round(distance / MILE_M, 5),
                "ring_miles": rings[ring],
                "weight": weight / 1000,
                "eligible": gate == 0,
                "reason": REASONS[gate],
                "open": open_,
                "capacity": capacity,
                "standing_before": standing / TURN,
                "standing_before_micro": standing,
            }
            for member, distance, ring, weight, gate, open_, capacity, standing in zip(
                row.member,
                row.distance_m,
                row.member_ring,
                row.weight,
                row.gate,
                row.open,
                row.capacity,
                row.standing,
                strict=True,
            )
        ],
    }

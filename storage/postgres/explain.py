"""One lead's story: what happened when, who was looked at, and why each was or was not chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONPATH, aggregate_order_by

from routing.explained import explanation, set_by
from routing.policy import Mode
from routing.rotation import told_of
from routing.verify import Past
from storage.postgres.engine import transaction
from storage.postgres.export import MILE_M, TURN, miles
from storage.postgres.refs import BEST_FIRST, IS_REF
from storage.postgres.tables import corrections, decisions, members, offers, policies, policy_approvals, timeline
from storage.postgres.verify import COLUMNS

#: What became of an offer's turn, by the correction's effect.
TURNS = {"return": "returned", "penalise": "penalised"}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened; `since_received_ms` counts from the lead's commit in Salesforce."""

    at: datetime
    what: str
    actor: str
    task_id: str | None
    policy_version: int | None
    since_received_ms: int
    since_last_ms: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OfferTold:
    """One offer of the lead."""

    offer_id: UUID
    member: str
    member_name: str
    attempt: int
    state: str
    reason: str | None
    distance_miles: float
    ring_miles: float
    offered_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    turn: str | None  # returned, penalised; None: used up


@dataclass(frozen=True, slots=True)
class CandidateTold:
    """One member that was looked at, with the numbers of each gate; standings and shares in turns."""

    member: str
    name: str
    distance_miles: float
    ring_miles: float
    tier_rank: int
    weight: float
    open: int
    capacity: int
    gate: str  # eligible, or the first gate that it did not pass: full, tried, quota, skill ...
    chosen: bool
    standing: float
    share: float
    standing_after: float
    served: int
    why: str  # in words, with the numbers
    gates: dict[str, str]  # each gate: passed, failed, not looked at
    numbers: dict[str, Any]  # what its gates looked at besides: a quota's name and use, a certificate's last day


@dataclass(frozen=True, slots=True)
class RuleTold:
    """A rule that set something on the lead's way: a skill, a priority, a preference, units."""

    rule: str
    sets: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DecisionTold:
    """One routing choice."""

    decision_id: UUID
    at: datetime
    attempt: int
    pool: str
    rotation: str
    mode: str
    step: str
    ring_miles: float | None
    rings_miles: tuple[float, ...]
    policy_version: int
    roster_version: int
    generation: int
    seq: int
    chosen: str | None
    reason: str
    nearest_miles: float | None
    rule: str  # of the policy, that sent the lead to this pool; empty: its country did
    set_by: tuple[RuleTold, ...]  # every rule that had a part, in order, with what it set
    policy_note: str
    policy_names: tuple[str, ...]  # who stands for the version: who wrote it, then who approved it
    units: int  # of capacity that the lead takes
    turn: float  # that it costs
    inputs: dict[str, Any]  # the lead as it was, and every fact that was looked at
    way: str  # the mode as the policy names it
    absence: str  # what who was away is owed on its return, by the policy
    candidates: tuple[CandidateTold, ...]


@dataclass(frozen=True, slots=True)
class LeadStory:
    """Everything the ledger knows of one lead; no personal data."""

    lead_id: int
    salesforce_id: str
    source_id: str | None
    state: str
    reason: str | None
    attempt: int
    priority: int
    pool: str | None
    country: str
    geo_precision: str | None
    geo_provider: str | None
    lat: float | None
    lon: float | None
    received_at: datetime
    steps: tuple[Step, ...]
    offers: tuple[OfferTold, ...]
    decisions: tuple[DecisionTold, ...]

    def to_json(self) -> dict[str, Any]:
        """The story as plain JSON values."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


class Explain:
    """Tells stories of leads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def lead(self, ref: str) -> LeadStory | None:
        """The story of a lead by our id, its Salesforce id (15 or 18 characters) or its source's id, in this order."""
        with transaction(self._engine) as connection:
            row = connection.execute(_FIND, {"ref": ref.strip()}).mappings().one_or_none()
            if row is None:
                return None
            facts = {name: row[name] for name in LeadStory.__dataclass_fields__ if name in row}
            lead = row["id"]
            return LeadStory(
                lead_id=lead,
                **facts,
                steps=_steps(connection, lead, row["received_at"]),
                offers=_offers(connection, lead),
                decisions=_decisions(connection, lead),
            )


_FIND = sa.text(f"SELECT * FROM leads WHERE {IS_REF} ORDER BY {BEST_FIRST} LIMIT 1")  # noqa: S608 - words of ours


def _steps(connection: sa.Connection, lead: int, received_at: datetime) -> tuple[Step, ...]:
    query = sa.select(timeline).where(timeline.c.lead_id == lead).order_by(timeline.c.at, timeline.c.id)
    rows = [*connection.execute(query), *connection.execute(_TURNS, {"lead": lead})]
    steps: list[Step] = []
    last = received_at
    for row in sorted(rows, key=lambda row: row.at):
        steps.append(
            Step(
                row.at,
                row.what,
                row.actor,
                row.task_id,
                row.policy_version,
                _ms(row.at - received_at),
                _ms(row.at - last),
                row.detail,
            )
        )
        last = row.at
    return tuple(steps)


# Corrections are steps of a lead's way, too: when, by what reason, and what its member got back or paid.
_TURNS = sa.text("""
    SELECT c.at, 'turn ' || CASE c.effect WHEN 'return' THEN 'returned' ELSE 'penalised' END AS what, c.actor,
           CAST(NULL AS text) AS task_id, CAST(NULL AS int) AS policy_version,
           jsonb_build_object('offer', o.id, 'member', o.member_id, 'reason', c.reason,
                              'turns', round(c.delta[array_position(c.member, o.member_id)] / 1e6, 6)) AS detail
    FROM offers o JOIN corrections c ON c.offer_id = o.id
    WHERE o.lead_id = :lead ORDER BY c.at
""")


def _offers(connection: sa.Connection, lead: int) -> tuple[OfferTold, ...]:
    query = (
        sa.select(offers, members.c.key, members.c.name, corrections.c.effect)
        .join(members, members.c.id == offers.c.member_id)
        .join(corrections, corrections.c.offer_id == offers.c.id, isouter=True)
        .where(offers.c.lead_id == lead, offers.c.state != "void")
        .order_by(offers.c.attempt, offers.c.offered_at)
    )
    return tuple(
        OfferTold(
            offer_id=row.id,
            member=row.key,
            member_name=row.name,
            attempt=row.attempt,
            state=row.state,
            reason=row.reason,
            distance_miles=row.distance_m / MILE_M,
            ring_miles=row.ring_m / MILE_M,
            offered_at=row.offered_at,
            expires_at=row.expires_at,
            ended_at=row.ended_at,
            turn=TURNS.get(row.effect),
        )
        for row in connection.execute(query)
    )


def _decisions(connection: sa.Connection, lead: int) -> tuple[DecisionTold, ...]:
    query = (
        sa.select(*COLUMNS, policies.c.note, policies.c.author, _SIGNED, _POOL)
        .join(policies, policies.c.version == decisions.c.policy_version, isouter=True)
        .where(decisions.c.lead_id == lead)
    )
    rows = connection.execute(query.order_by(decisions.c.at, decisions.c.seq)).all()
    names = _names(connection, {member for row in rows for member in row.member})
    return tuple(_decision(connection, row, names) for row in rows)


_POOL = sa.func.jsonb_path_query_first(
    policies.c.document,
    sa.cast("$.pools[*] ? (@.name == $pool)", JSONPATH),
    sa.func.jsonb_build_object("pool", decisions.c.pool),
).label("pool_then")
_SIGNED = (
    sa.select(
        sa.func.array_agg(
            aggregate_order_by(policy_approvals.c.name, policy_approvals.c.wrote.desc(), policy_approvals.c.at)
        )
    )
    .where(policy_approvals.c.version == decisions.c.policy_version)
    .correlate(decisions)
    .scalar_subquery()
    .label("signed")
)


def _names(connection: sa.Connection, ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    query = sa.select(members.c.id, members.c.key, members.c.name).where(
        members.c.id == sa.any_(sa.cast(list(ids), sa.ARRAY(sa.Integer)))
    )
    return {row.id: (row.key, row.name) for row in connection.execute(query)}


def _decision(connection: sa.Connection, row: Any, names: dict[int, tuple[str, str]]) -> DecisionTold:
    past = Past(*row[: len(COLUMNS)])
    told = explanation(past, cursor=cursor_before(connection, past))
    return DecisionTold(
        decision_id=past.id,
        at=past.at,
        attempt=past.attempt,
        pool=past.pool,
        rotation=past.rotation,
        mode=past.mode,
        step=told["step"],
        ring_miles=None if past.ring is None else past.rings_m[past.ring] / MILE_M,
        rings_miles=tuple(ring / MILE_M for ring in past.rings_m),
        policy_version=past.policy_version,
        roster_version=past.roster_version,
        generation=past.generation,
        seq=past.seq,
        chosen=None if past.chosen is None else names[past.chosen][0],
        reason=past.reason,
        nearest_miles=miles(past.nearest_m),
        rule=past.rule,
        set_by=tuple(RuleTold(rule, dict(said)) for rule, said in set_by(past.inputs)),
        policy_note=row.note or "",
        policy_names=tuple(row.signed or filter(None, [row.author])),
        units=past.units,
        turn=past.turn / TURN,
        inputs=dict(past.inputs),
        way=str((row.pool_then or {}).get("mode", past.mode)),
        absence=told_of((row.pool_then or {}).get("turns", {}).get("absence", "none")),
        candidates=_candidates(told, past, names),
    )


def cursor_before(connection: sa.Connection, past: Past) -> int:
    """Who was served before this decision in its rotation, which decides in mode cursor; 0: nobody."""
    if past.mode != Mode.CURSOR or past.chosen is None:
        return 0
    found: int | None = connection.execute(_BEFORE, {name: getattr(past, name) for name in _KEY}).scalar()
    return found or 0


_KEY = ("market", "rotation", "generation", "seq")
_BEFORE = sa.text("""
    SELECT chosen FROM decisions
    WHERE market = :market AND rotation = :rotation AND (generation, seq) < (:generation, :seq) AND chosen IS NOT NULL
    ORDER BY generation DESC, seq DESC LIMIT 1
""")


def _candidates(told: Mapping[str, Any], past: Past, names: dict[int, tuple[str, str]]) -> tuple[CandidateTold, ...]:
    """Everyone looked at: the chosen one first, then the eligible, then the others, each nearest first."""

    def one(at: int) -> CandidateTold:
        candidate = told["candidates"][at]
        key, name = names[candidate["member"]]
        return CandidateTold(
            member=key,
            name=name,
            distance_miles=candidate["distance_m"] / MILE_M,
            ring_miles=past.rings_m[candidate["ring"]] / MILE_M,
            tier_rank=candidate["tier_rank"],
            weight=candidate["weight"] / 1000,
            open=candidate["open"],
            capacity=candidate["capacity"],
            gate=candidate["gate"],
            chosen=candidate["chosen"],
            standing=candidate["standing"] / TURN,
            share=candidate["share"] / TURN,
            standing_after=candidate["standing_after"] / TURN,
            served=candidate["served"],
            why=candidate["why"],
            gates=candidate["gates"],
            numbers=candidate["numbers"],
        )

    order = sorted(
        range(len(past.member)),
        key=lambda at: (past.member[at] != past.chosen, past.gate[at], past.distance_m[at], past.member[at]),
    )
    return tuple(one(at) for at in order)


def _ms(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case str():
            return value
        case Sequence():
            return [_plain(item) for item in value]
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case float():
            return round(value, 6)
        case _:
            return value

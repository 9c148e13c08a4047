"""Turns set right after the fact: owed where an offer ends, carried out under a number, kept for good."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.errors import BadInput, ColdTurnstile
from routing.policy import Mode, TurnEffect
from routing.turns import MOST_BY_HAND, Correction, Corrects, Effect, Numbered, Uncertain, by_hand, of_offer
from storage.postgres import tables as t
from storage.postgres.alone import LedgerAlone
from storage.postgres.audit import record
from storage.postgres.books import Shelf, load, read_on, shares_of
from storage.postgres.engine import transaction

#: Corrections carried out by one call.
TOGETHER = 200
#: What the ledger says when a number is given a second time: the turnstile was set back.
NUMBERED_TWICE = frozenset(
    {"uq_corrections_market_generation_seq", "corrections_numbered_once", "decisions_numbered_once"}
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def owe_correction(conn: sa.Connection, offers: Sequence[UUID], effect: TurnEffect, reason: str) -> int:
    """Have the turns of these offers set right soon, when the caller's transaction commits; returns how many.

    Call it in the transaction that ends the offers. Nothing is owed when the turn is consumed, when an offer followed
    from no decision, or from one that moved no standings (every mode but fair). Safe to repeat.
    """
    if effect is TurnEffect.CONSUME or not offers:
        return 0
    what = Effect(effect.value)
    made = []
    for row in conn.execute(_DECISIONS, {"ids": list(offers), "fair": str(Mode.FAIR)}):
        deltas = of_offer(what, row.chosen, shares_of(row.member, row.weight, row.gate, row.turn))
        made.append(Correction(row.id, row.market, row.rotation, what, reason, deltas, row.id))
    return owe(conn, made)


def owe_move(conn: sa.Connection, offers: Sequence[UUID], member: int, reason: str) -> int:
    """Have another member of the market pay for the turns of these offers, to whom the lead was given by hand.

    Who was chosen gets its turn back, and the accounts become what they were had the member been chosen instead. Call
    it as `owe_correction`.
    """
    made = []
    for row in conn.execute(_DECISIONS, {"ids": list(offers), "fair": str(Mode.FAIR)}):
        shares = shares_of(row.member, row.weight, row.gate, row.turn)
        back = of_offer(Effect.RETURN, row.chosen, shares)
        made.append(Correction(row.id, row.market, row.rotation, Effect.RETURN, reason, back, row.id))
        paid = of_offer(Effect.PENALISE, member, {member: 0} | shares)
        made.append(Correction(uuid5(row.id, reason), row.market, row.rotation, Effect.TAKE, reason, paid))
    return owe(conn, made)


@dataclass(frozen=True, slots=True)
class Owed:
    """Corrections of one market that nobody else carries out until the transaction ends."""

    market: str
    generation: int
    alone: Corrects | None  # who carries them out while the turnstile is away: the ledger
    corrections: tuple[Correction, ...]
    _conn: sa.Connection

    def save(self, numbered: Sequence[Numbered]) -> None:
        """Write them down under their numbers; they are owed no more."""
        numbers = {one.id: one for one in numbered}
        rows = [_row(one, self.generation, numbers[one.id]) for one in self.corrections]
        self._conn.execute(sa.delete(t.turns_owed).where(t.turns_owed.c.id.in_(numbers)))
        self._conn.execute(sa.insert(t.corrections), rows)


class Corrections:
    """The ledger's side of corrections."""

    def __init__(self, engine: sa.Engine, shelf: Shelf | None = None) -> None:
        self._engine = engine
        self._shelf = shelf or Shelf()

    def markets(self) -> list[str]:
        """The markets in which any correction is owed."""
        with transaction(self._engine) as conn:
            return list(conn.execute(_MARKETS).scalars())

    @contextmanager
    def owed(self, market: str) -> Iterator[Owed]:
        """The oldest corrections owed in this market; leaving the context commits what was saved.

        The turnstile's generation cannot change meanwhile. Raises ColdTurnstile when it went or came back just now.
        """
        with transaction(self._engine) as conn:
            held = conn.execute(_HOLD_GENERATION, {"market": market}).one_or_none() is not None
            now = conn.execute(_MARKET, {"market": market}).one()
            if held == now.alone:
                raise ColdTurnstile(market=market)
            rows = conn.execute(_OWED, {"market": market, "limit": TOGETHER}).all()
            alone = LedgerAlone(conn, self._shelf) if now.alone else None
            yield Owed(market, now.generation, alone, tuple(_correction(row) for row in rows), conn)

    def judged(self, uncertain: Sequence[Uncertain]) -> tuple[list[Uncertain], list[Uncertain]]:
        """(keep, undo): what the ledger knows under the same number, and what never will be.

        In neither list: what is owed still, and so will be asked for again.
        """
        with transaction(self._engine) as conn:
            rows = conn.execute(_JUDGED, {"ids": [one.id for one in uncertain]}).all()
        known = {row.id: (row.generation, row.seq) for row in rows}
        keep = [one for one in uncertain if known.get(one.id) == (one.generation, one.seq)]
        undo = [one for one in uncertain if known.get(one.id) not in {(one.generation, one.seq), _OWED_STILL}]
        return keep, undo

    def rotations(self, market: str) -> list[str]:
        """Every rotation of the market that has accounts."""
        with transaction(self._engine) as conn:
            books = load(conn, market)
            read_on(conn, books)
            return sorted(name for name in books.rotations if name)

    def by_hand(
        self, id_: UUID, effect: Effect, *, member: str, turns: int, reason: str, actor: str, rotation: str = ""
    ) -> Correction:
        """Owe a member turns, or take them, because a person says so; carried out like every correction.

        The others of the rotation (every active member that has an account there) pay for it or gain by it, each by
        its weight. `rotation` may be left out where the market has one. Repeated with the same id, it is done once.
        Raises BadInput.
        """
        if not 1 <= turns <= MOST_BY_HAND:
            raise BadInput(f"{turns} turns", field="turns", fix=f"Give a whole number from 1 to {MOST_BY_HAND:,}.")
        if not reason.strip():
            raise BadInput("there is none", field="reason", fix="Say why: it stands in the ledger for good.")
        with transaction(self._engine) as conn:
            found = conn.execute(_MEMBER, {"key": member}).one_or_none()
            if found is None:
                raise BadInput(f"no member has the key {member!r}", field="member", fix="Give the key of its import.")
            name, others = self._others(conn, found.market, rotation, found.id)
            made = Correction(
                id_,
                found.market,
                name,
                effect,
                reason.strip(),
                by_hand(effect, found.id, turns, others),
                actor=actor,
            )
            if owe(conn, [made]):
                record(conn, actor, f"turns.{effect}", member=member, turns=turns, rotation=name, reason=made.reason)
        return made

    def _others(self, conn: sa.Connection, market: str, rotation: str, member: int) -> tuple[str, dict[int, int]]:
        """The rotation meant, and the weights in force of everybody else who has an account there."""
        books = load(conn, market)
        read_on(conn, books)
        names = sorted(name for name in books.rotations if name)
        if rotation not in names and (rotation or len(names) != 1):
            fix = f"Give one of: {', '.join(names)}." if names else "Turns can be moved once leads were routed."
            raise BadInput(f"market {market} has no {rotation or 'single'} rotation", field="rotation", fix=fix)
        name = rotation or names[0]
        accounts = books.rotations[name].standing.keys() - {member}
        weights = {row.id: row.weight for row in conn.execute(_WEIGHTS, {"ids": sorted(accounts)})}
        if not weights:
            raise BadInput(
                f"nobody else takes turns in rotation {name}", field="rotation", fix="There is no one to share with."
            )
        return name, weights


def owe(conn: sa.Connection, made: Sequence[Correction]) -> int:
    """Have these corrections carried out soon, each once; how many are new. Commits with the caller's transaction."""
    if not made:
        return 0
    rows = [_values(one) for one in made]
    known = sa.select(t.corrections.c.id).where(t.corrections.c.id.in_([one.id for one in made]))
    done = set(conn.execute(known).scalars())
    new = [row for row in rows if row["id"] not in done]
    if not new:
        return 0
    statement = insert(t.turns_owed).values(new).on_conflict_do_nothing(index_elements=["id"])
    return int(conn.execute(statement).rowcount)


def _values(one: Correction) -> dict[str, Any]:
    return {
        "id": one.id,
        "market": one.market,
        "rotation": one.rotation,
        "offer_id": one.offer,
        "effect": str(one.effect),
        "reason": one.reason,
        "actor": one.actor,
        "member": list(one.deltas),
        "delta": list(one.deltas.values()),
    }


def _row(one: Correction, generation: int, number: Numbered) -> dict[str, Any]:
    at = _EPOCH + timedelta(microseconds=number.at_us)
    return _values(one) | {"generation": generation, "seq": number.seq, "at": at}


def _correction(row: Any) -> Correction:
    deltas: Mapping[int, int] = dict(zip(row.member, row.delta, strict=True))
    return Correction(row.id, row.market, row.rotation, Effect(row.effect), row.reason, deltas, row.offer_id, row.actor)


_OWED_STILL = (0, 0)
_DECISIONS = sa.text("""
    SELECT id, market, rotation, chosen, member, weight, gate, turn FROM decisions
    WHERE id = ANY(CAST(:ids AS uuid[])) AND chosen IS NOT NULL AND mode = :fair
    ORDER BY generation, seq
""")
_MARKETS = sa.text("SELECT DISTINCT market FROM turns_owed ORDER BY market")
_HOLD_GENERATION = sa.text("""
    SELECT pg_advisory_xact_lock_shared(hashtext('turnstile:' || name)) FROM markets
    WHERE name = :market AND alone_since IS NULL
""")
_MARKET = sa.text("SELECT generation, alone_since IS NOT NULL AS alone FROM markets WHERE name = :market")
_OWED = sa.text("""
    SELECT * FROM turns_owed WHERE market = :market ORDER BY created_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
""")
# One statement, so that a correction is seen as owed or as written, never as neither.
_JUDGED = sa.text("""
    SELECT id, generation, seq FROM corrections WHERE id = ANY(CAST(:ids AS uuid[]))
    UNION ALL
    SELECT id, 0, 0 FROM turns_owed WHERE id = ANY(CAST(:ids AS uuid[]))
""")
_MEMBER = sa.text("SELECT id, market FROM members WHERE key = :key")
_WEIGHTS = sa.text("""
    SELECT m.id, coalesce(m.weight, (SELECT weight FROM tiers WHERE name = m.tier),
                          (SELECT weight FROM tiers WHERE name = ''), 1000) AS weight
    FROM members m WHERE m.id = ANY(CAST(:ids AS int[])) AND m.active ORDER BY m.id
""")

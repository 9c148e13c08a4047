"""The house as it was: rosters, capacities, turns and the policy of any second, read from what the ledger kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.errors import BadInput
from routing.fairness import TURN
from routing.member import Roster
from routing.policy import Policy
from storage.postgres.bases import base_of
from storage.postgres.books import Books, load, read_on
from storage.postgres.engine import transaction
from storage.postgres.last_before import last_before
from storage.postgres.members import FULL_ROSTER, ROSTER, roster_of

#: Decisions and corrections read at once while accounts are followed.
NO_END = (2**62, 0)


@dataclass(frozen=True, slots=True)
class Stood:
    """One market as it stood at a moment: which roster counted, which policy, and how many decisions were made."""

    market: str
    at: datetime
    roster_version: int
    policy_version: int
    generation: int
    seq: int


@dataclass(frozen=True, slots=True)
class Held:
    """How much of its capacity a member used at a moment."""

    market: str
    member: str
    open: int
    capacity: int
    active: bool


@dataclass(frozen=True, slots=True)
class Account:
    """A member's account in a rotation at a moment, in turns; `place`: 1 is who is owed most."""

    market: str
    rotation: str
    member: str
    standing: float
    served: int
    place: int


class History:
    """Reads the past; changes nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def stood(self, at: datetime) -> list[Stood]:
        """Every market that there was at this moment. Raises BadInput for a time before anything is known."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_STOOD, {"at": at}).all()
            if not rows:
                raise BadInput(f"nothing is known of {at:%Y-%m-%d %H:%M:%S}", field="time", fix="Give a later one.")
            return [
                Stood(row.market, at, row.roster_version, row.policy_version, *last_before(connection, row.market, at))
                for row in rows
            ]

    def roster_at(self, market: str, version: int, *, full: bool = False) -> Roster:
        """The roster as it was in this version, exactly as the dispatcher read it."""
        statement = _FULL_ROSTER_AT if full else _ROSTER_AT
        with transaction(self._engine) as connection:
            connection.execute(_TAKE_TIME)
            row = connection.execute(statement, {"market": market, "asked": version}).one()
        return roster_of(row, market, full=full)

    def capacity_at(self, at: datetime, policy: Policy) -> list[Held]:
        """How many offers every member held at this moment, by the beginnings and ends that the ledger has."""
        found: list[Held] = []
        for stood in self.stood(at):
            roster = self.roster_at(stood.market, stood.roster_version)
            with transaction(self._engine) as connection:
                connection.execute(_TAKE_TIME)
                rows = connection.execute(_OPEN_AT, {"market": stood.market, "at": at})
                held = {row.member_id: row.held for row in rows}
            found += [
                Held(
                    stood.market,
                    one.key,
                    held.get(one.id, 0),
                    policy.tier(one.tier).capacity if one.capacity is None else one.capacity,
                    one.active,
                )
                for one in roster
            ]
        return found

    def turns_at(self, at: datetime) -> list[Account]:
        """Everybody's account in every rotation at this moment: decisions and corrections up to it, added up."""
        found: list[Account] = []
        for stood in self.stood(at):
            with transaction(self._engine) as connection:
                connection.execute(_TAKE_TIME)
                books = self._books(connection, stood)
                names = {row.id: row.key for row in connection.execute(_KEYS, {"market": stood.market})}
            for rotation, accounts in sorted(books.accounts().items()):
                order = sorted(accounts, key=lambda one: (-accounts[one].standing, accounts[one].served, one))
                found += [
                    Account(
                        stood.market,
                        rotation,
                        names.get(member, str(member)),
                        accounts[member].standing / TURN,
                        accounts[member].served,
                        place,
                    )
                    for place, member in enumerate(order, start=1)
                ]
        return found

    def _books(self, connection: sa.Connection, stood: Stood) -> Books:
        base = base_of(connection, stood.market)
        if base is not None and stood.at < base.at:
            raise BadInput(
                f"what was decided before {base.at:%Y-%m-%d %H:%M:%S} was removed for its age",
                field="time",
                fix="Give a later one.",
            )
        upto, marked = (stood.generation, stood.seq), load(connection, stood.market)
        books = base.books if base is not None else Books(stood.market)
        if (books.generation, books.seq) <= (marked.generation, marked.seq) <= upto:
            books = marked  # what came before the mark is added up already
        read_on(connection, books, upto)
        return books

    def member(self, key: str) -> list[Mapping[str, Any]]:
        """Every version of one member, the oldest first, with since when it counts."""
        with transaction(self._engine) as connection:
            return [dict(row) for row in connection.execute(_OF_MEMBER, {"key": key}).mappings()]


# Names of a WITH go before those of tables: the dispatcher's own statement reads the past, and cannot come to differ.
_PAST = """
    WITH latest AS (
        SELECT DISTINCT ON (member_id) member_id, member, lats, lons FROM member_history
        WHERE market = :market AND version <= :asked ORDER BY member_id, version DESC
    ), members AS (
        SELECT r.* FROM latest, LATERAL jsonb_populate_record(NULL::members, latest.member) r
        WHERE latest.member IS NOT NULL
    ), places AS (
        SELECT member_id, i AS id, lats[i] AS lat, lons[i] AS lon FROM latest, generate_subscripts(lats, 1) i
    ), markets AS (
        SELECT CAST(:market AS text) AS name, CAST(:asked AS bigint) AS roster_version
    )
"""
_ROSTER_AT = sa.text(_PAST.replace("::", "\\:\\:") + ROSTER.text)
_FULL_ROSTER_AT = sa.text(_PAST.replace("::", "\\:\\:") + FULL_ROSTER.text)
_TAKE_TIME = sa.text("SELECT set_config('statement_timeout', '120s', true)")
_STOOD = sa.text("""
    SELECT market, max(version) AS roster_version,
           coalesce((SELECT version FROM policies WHERE published_at <= :at
                     ORDER BY published_at DESC, version DESC LIMIT 1), 0) AS policy_version
    FROM roster_versions WHERE at <= :at GROUP BY market ORDER BY market
""")
_OPEN_AT = sa.text("""
    SELECT member_id, sum(units) AS held FROM offers
    WHERE market = :market AND offered_at <= :at AND (ended_at IS NULL OR ended_at > :at) AND state <> 'void'
    GROUP BY member_id
""")
_KEYS = sa.text("SELECT id, key FROM members WHERE market = :market")
_OF_MEMBER = sa.text("""
    SELECT h.market, h.version, r.at, h.member, h.lats, h.lons
    FROM member_history h
    LEFT JOIN LATERAL (
        SELECT at FROM roster_versions r WHERE r.market = h.market AND r.version >= h.version ORDER BY version LIMIT 1
    ) r ON true
    WHERE h.member_id = (SELECT id FROM members WHERE key = :key) ORDER BY r.at, h.version, h.member IS NOT NULL
""")

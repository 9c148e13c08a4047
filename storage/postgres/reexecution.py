"""Past decisions with everything they were made from, as the ledger has it."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.errors import FairturnError
from routing.member import Roster
from routing.policy import Policy
from routing.reexecute import Remade, past_to_json, remake, roster_to_json, with_digest
from routing.regift import Given, given_again
from routing.verify import Past
from storage.postgres.engine import transaction
from storage.postgres.explain import cursor_before
from storage.postgres.export import rows, stream
from storage.postgres.history import History
from storage.postgres.tables import decisions, policies
from storage.postgres.verify import COLUMNS

#: Rosters kept while decisions are made again one after the other.
KEPT = 4
Contents = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Again:
    """One decision of the ledger, made again."""

    decision: UUID
    lead: int
    remade: Remade


class Reexecution:
    """Makes decisions again from the ledger; `parse` reads a policy's document."""

    def __init__(self, engine: sa.Engine, parse: Callable[[Mapping[str, Any], int], Policy]) -> None:
        self._engine, self._parse = engine, parse
        self._history = History(engine)
        self._policies: dict[int, Policy] = {}
        self._rosters: dict[tuple[str, int], Roster] = {}

    def run(self, *, sample: int | None = None, lead: int | None = None) -> Iterator[Again]:
        """Decisions made again in the order they were made: all, those of one lead, or so many spread over all."""
        query = sa.select(*COLUMNS).order_by(decisions.c.market, decisions.c.roster_version, decisions.c.seq)
        if lead is not None:
            query = query.where(decisions.c.lead_id == lead)
        if sample is not None:
            share = sa.select(sa.func.count()).select_from(decisions).scalar_subquery()
            number = sa.func.row_number().over(order_by=(decisions.c.market, decisions.c.generation, decisions.c.seq))
            spread = sa.select(decisions.c.id, number.label("n")).subquery()
            step = sa.func.greatest(share // sample, 1)
            chosen = sa.select(spread.c.id).where(spread.c.n % step == 0).order_by(spread.c.n).limit(sample)
            query = query.where(decisions.c.id.in_(chosen))
        with stream(self._engine) as connection:
            for row in rows(connection, query):
                past = Past(*row)
                yield Again(past.id, past.lead_id, self.one(past, cursor=self._cursor(past)))

    def one(self, past: Past, *, cursor: int = 0) -> Remade:
        """One decision made again."""
        policy = self._policy(past.policy_version)
        if isinstance(policy, str):
            return Remade(b"", b"", (policy,))
        return remake(past, policy, self._roster(past.market, past.roster_version), cursor=cursor)

    def gifts(self, *, lead: int | None = None) -> Iterator[Again]:
        """Leads that rules gave to the members they name, given again; `decision` is the offer's id."""
        with stream(self._engine) as connection:
            for row in rows(connection, _GIFTS.bindparams(lead=lead)):
                policy, told = self._policy(row.policy_version), row.detail
                ruled = told.get("ruled", {})
                without = frozenset((*ruled.get("released", ()), *ruled.get("passed", ())))
                given = Given(told["rule"], row.owner, told.get("facts", {}), without)
                remade = Remade(b"", b"", (policy,)) if isinstance(policy, str) else given_again(given, policy)
                yield Again(row.offer_id, row.lead_id, remade)

    def by_people(self, *, lead: int | None = None) -> dict[str, int]:
        """Offers that came of a person's own choice, by kind: there is nothing to make again."""
        with transaction(self._engine) as connection:
            return {row.kind: row.offers for row in connection.execute(_BY_PEOPLE, {"lead": lead})}

    def bundle(self, decision: UUID, contents: Contents | None = None) -> dict[str, Any] | None:
        """Everything a decision was made from, in plain values; None when there is no such decision.

        `contents` gives the bytes of tables and areas by the digests that the policy names.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(sa.select(*COLUMNS).where(decisions.c.id == decision)).one_or_none()
            if row is None:
                return None
            past = Past(*row)
            query = sa.select(policies.c.document).where(policies.c.version == past.policy_version)
            document = connection.execute(query).scalar()
        bundle = {
            "what": "fairturn decision",
            "decision": past_to_json(past),
            "cursor": self._cursor(past),
            "policy": {"version": past.policy_version, "document": document},
            "contents": {
                name: base64.b64encode(contents(name)).decode()
                for name in sorted(_digests(document))
                if contents is not None
            },
            "roster": roster_to_json(self._history.roster_at(past.market, past.roster_version, full=True)),
        }
        return with_digest(bundle)

    def _policy(self, version: int) -> Policy | str:
        """The policy, or why it cannot be had."""
        if version not in self._policies:
            with transaction(self._engine) as connection:
                query = sa.select(policies.c.document).where(policies.c.version == version)
                document = connection.execute(query).scalar()
            if document is None:
                return f"policy {version} is not there any more"
            try:
                self._policies[version] = self._parse(document, version)
            except FairturnError as exc:
                return f"policy {version} cannot be read: {exc}"
        return self._policies[version]

    def _roster(self, market: str, version: int) -> Roster:
        if (market, version) not in self._rosters:
            while len(self._rosters) >= KEPT:
                del self._rosters[next(iter(self._rosters))]
            self._rosters[market, version] = self._history.roster_at(market, version, full=True)
        return self._rosters[market, version]

    def _cursor(self, past: Past) -> int:
        with transaction(self._engine) as connection:
            return cursor_before(connection, past)


def _digests(document: Any) -> set[str]:
    """The digests of tables and areas that a document names, wherever they stand."""
    if isinstance(document, str):
        return {document} if _DIGEST.match(document) else set()
    parts = document.values() if isinstance(document, Mapping) else document if isinstance(document, list) else ()
    return {digest for part in parts for digest in _digests(part)}


_GIFTS = sa.text("""
    SELECT o.id AS offer_id, o.lead_id, t.policy_version, t.detail, m.key AS owner
    FROM offers o JOIN members m ON m.id = o.member_id
    JOIN timeline t ON t.lead_id = o.lead_id AND t.what = 'offered' AND t.detail->>'offer' = CAST(o.id AS text)
    WHERE o.kind = 'manual' AND t.detail->>'kind' = 'owner'
      AND (CAST(:lead AS bigint) IS NULL OR o.lead_id = :lead)
    ORDER BY t.id
""")
_BY_PEOPLE = sa.text("""
    SELECT o.kind, count(*) AS offers FROM offers o
    WHERE o.kind IN ('manual', 'open') AND o.state <> 'void' AND (CAST(:lead AS bigint) IS NULL OR o.lead_id = :lead)
      AND NOT EXISTS (SELECT FROM timeline t WHERE t.lead_id = o.lead_id AND t.what = 'offered'
                      AND t.detail->>'offer' = CAST(o.id AS text) AND t.detail->>'kind' = 'owner')
    GROUP BY o.kind ORDER BY o.kind
""")
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")

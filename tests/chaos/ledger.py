"""What the ledger says, asked in plain SQL of the checkers' own: nothing here runs through the product."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

UNSETTLED = """
SELECT (SELECT count(*) FROM events WHERE state = 'pending') AS events,
       (SELECT count(*) FROM leads WHERE state = 'new') AS new,
       (SELECT count(*) FROM leads WHERE dirty) AS dirty,
       (SELECT count(*) FROM leads WHERE state = 'waiting' AND next_try_at < clock_timestamp()) AS woken,
       (SELECT count(*) FROM outbox WHERE state = 'pending') AS outbox,
       (SELECT count(*) FROM offers WHERE state = 'offered'
         AND expires_at < clock_timestamp() + interval '30 minutes') AS expiring,
       (SELECT count(*) FROM offers WHERE state = 'accepted'
         AND work_by < clock_timestamp() + interval '30 minutes') AS overdue,
       (SELECT count(*) FROM turns_owed) AS turns_owed
"""

UNDER_WAY = """
SELECT e.record_id AS record FROM runs r JOIN pg_stat_activity a ON a.pid = r.backend
    JOIN events e ON e.id = ANY(r.rows) AND r.verb = 'intake' WHERE a.application_name = ANY(%s)
UNION SELECT l.salesforce_id FROM runs r JOIN pg_stat_activity a ON a.pid = r.backend
    JOIN leads l ON l.id = ANY(r.rows) AND r.verb <> 'intake' WHERE a.application_name = ANY(%s)
"""

LEFT = """
(SELECT concat('event ', to_jsonb(e) - 'body' - 'replay_id') AS told FROM events e WHERE state = 'pending' LIMIT 3)
UNION ALL (SELECT concat('lead ', to_jsonb(l)) FROM leads l
            WHERE state = 'new' OR dirty OR state = 'waiting' AND next_try_at < clock_timestamp() LIMIT 3)
UNION ALL (SELECT concat('outbox ', to_jsonb(x)) FROM outbox x WHERE state = 'pending' LIMIT 3)
UNION ALL (SELECT concat('offer ', to_jsonb(o)) FROM offers o
            WHERE state = 'offered' AND expires_at < clock_timestamp() + interval '30 minutes'
               OR state = 'accepted' AND work_by < clock_timestamp() + interval '30 minutes' LIMIT 3)
UNION ALL (SELECT concat('turn owed ', to_jsonb(w)) FROM turns_owed w LIMIT 3)
"""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """Read-only questions over a connection of their own."""

    url: str

    def rows(self, query: str, *values: Any) -> list[Row]:
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def under_way(self, pids: Sequence[int]) -> list[str]:
        """The leads, by Salesforce id, that these processes are working on now."""
        names = [f"fairturn {pid}" for pid in pids]
        return sorted({row["record"] for row in self.rows(UNDER_WAY, names, names)})

    def unsettled(self) -> dict[str, int]:
        """What is still on its way, by kind; empty when all is at rest."""
        [counts] = self.rows(UNSETTLED)
        return {name: n for name, n in counts.items() if n}

    def left(self) -> list[str]:
        """A few of the rows that are still on their way, in words."""
        return [row["told"] for row in self.rows(LEFT)]

    def leads(self) -> list[Row]:
        return self.rows(
            "SELECT id, salesforce_id, source_id, state, reason, version, attempt, lat, lon FROM leads ORDER BY id"
        )

    def members(self) -> dict[int, Row]:
        found = self.rows(
            "SELECT m.id, key, capacity, active, lat, lon FROM members m JOIN places p ON p.member_id = m.id"
        )
        return {row["id"]: row for row in found}

    def offers(self) -> list[Row]:
        return self.rows(
            "SELECT id::text, lead_id, member_id, attempt, kind, state, reason, actor, offered_at, expires_at,"
            " accepted_at, ended_at, extensions FROM offers WHERE state <> 'void' ORDER BY offered_at, id"
        )

    def numbering(self) -> list[Row]:
        """Each member's notices: how many, the first and last number, and the number it was last given."""
        return self.rows(
            "SELECT m.key, m.notices, count(n.number), min(n.number), max(n.number) FROM members m"
            " LEFT JOIN notices n ON n.member_id = m.id GROUP BY m.id"
        )

    def told(self) -> list[Row]:
        """How often each offer's member was told each thing about it."""
        return self.rows("SELECT offer_id::text AS offer, member_id, what, count(*) AS n FROM notices GROUP BY 1, 2, 3")

    def marked(self, marker: str) -> int:
        """How many customers of the ledger carry the marker."""
        query = "SELECT count(*) AS n FROM lead_contacts WHERE concat(name, email, phone) LIKE %s"
        return int(self.rows(query, f"%{marker}%")[0]["n"])

    def decisions(self) -> list[Row]:
        return self.rows("SELECT lead_id, attempt, at, generation, seq, chosen FROM decisions ORDER BY at")

    def parked_events(self) -> set[str]:
        """Records of which an event was parked."""
        return {row["record_id"] for row in self.rows("SELECT record_id FROM events WHERE state = 'parked'")}

    def breaches(self) -> list[tuple[str, str, str]]:
        """Every row of every invariant view: (view, subject, detail)."""
        views = self.rows(r"SELECT viewname FROM pg_views WHERE viewname LIKE 'inv\_%' ORDER BY 1")
        found: list[tuple[str, str, str]] = []
        for view in (row["viewname"] for row in views):
            rows = self.rows(f"SELECT subject, detail FROM {view}")  # noqa: S608 - a name out of the catalogue
            found += [(view, row["subject"], row["detail"]) for row in rows]
        return found

    def story(self, lead_id: int) -> Sequence[Row]:
        """A lead's timeline."""
        query = "SELECT at, what, actor, task_id, detail FROM timeline WHERE lead_id = %s ORDER BY at, id"
        return self.rows(query, lead_id)

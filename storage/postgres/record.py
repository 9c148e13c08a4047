"""A member's own record: what it was offered, what it answered, and why leads near it went elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from routing.decision import Gate
from storage.postgres.engine import transaction
from storage.postgres.walls import as_member

DAYS = 30
#: Of a market's decisions in that time, the newest so many are looked at.
NEWEST = 20_000


@dataclass(frozen=True, slots=True)
class Answered:
    """Offers of the last 30 days, by what became of them."""

    offered: int
    accepted: int  # ever accepted, whatever came later
    rejected: int
    expired: int

    @property
    def acceptance(self) -> float | None:
        """Accepted ones among those that were answered or expired."""
        decided = self.accepted + self.rejected + self.expired
        return self.accepted / decided if decided else None


@dataclass(frozen=True, slots=True)
class Passed:
    """So many leads at this distance from the member, and what became of them for it.

    why: offered, a gate of its own that was shut (full, limit, tier, tried, skill, certificate, condition, hours,
    area), turn (another's turn), nearer (a nearer ring had somebody), away (not on duty).
    """

    ring_m: float
    why: str
    leads: int


class Record:
    """Reads one member's own record; nobody else's numbers are in it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def answered(self, member_id: int) -> Answered:
        """What the member answered."""
        with as_member(self._engine, member_id) as conn:
            return Answered(*conn.execute(_ANSWERED, {"member": member_id, "days": DAYS}).one())

    def passed(self, member_id: int) -> Sequence[Passed]:
        """What became of the leads in the member's reach, of the newest decisions of its market."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_PASSED, {"member": member_id, "days": DAYS, "newest": NEWEST})
            return [Passed(row.ring_m, row.why, row.leads) for row in rows]

    def rotations(self, member_id: int) -> dict[str, str]:
        """By pool, the rotation in which the member was looked at last."""
        with transaction(self._engine) as conn:
            rows = conn.execute(_ROTATIONS, {"member": member_id, "days": DAYS, "newest": NEWEST})
            return {row.pool: row.rotation for row in rows}


_ANSWERED = sa.text("""
    SELECT count(*), count(*) FILTER (WHERE accepted_at IS NOT NULL),
           count(*) FILTER (WHERE state = 'rejected'), count(*) FILTER (WHERE state = 'expired')
    FROM offers WHERE member_id = :member AND offered_at > clock_timestamp() - make_interval(days => :days)
""")
_RECENT = """
    SELECT d.lead_id, d.pool, d.rotation, d.rings_m, d.ring, d.chosen, d.at, d.generation, d.seq,
           array_position(d.member, m.id) AS here, d.gate, m.created_at
    FROM members m CROSS JOIN LATERAL (
        SELECT * FROM decisions d WHERE d.market = m.market
        ORDER BY d.generation DESC, d.seq DESC LIMIT :newest
    ) d
    WHERE m.id = :member AND d.at > clock_timestamp() - make_interval(days => :days) AND d.at > m.created_at
"""
#: What a member's own gate is called to it; who passed all of them was not in turn.
_WORDS = {gate: "limit" if gate is Gate.QUOTA else gate.name.lower() for gate in Gate if gate is not Gate.ELIGIBLE}
_WHENS = " ".join(f"WHEN {int(gate)} THEN '{word}'" for gate, word in _WORDS.items())
# Haversine on a sphere: near enough to say in which ring a lead was.
_PASSED = sa.text(f"""
    WITH recent AS MATERIALIZED ({_RECENT}), near AS (
        SELECT r.*, (
            SELECT min(12742000 * asin(sqrt(least(1, power(sin(radians(l.lat - p.lat) / 2), 2)
                       + cos(radians(p.lat)) * cos(radians(l.lat)) * power(sin(radians(l.lon - p.lon) / 2), 2)))))
            FROM places p WHERE p.member_id = :member
        ) AS distance_m
        FROM recent r JOIN leads l ON l.id = r.lead_id
    ), placed AS (
        SELECT n.*, (SELECT min(i) FROM generate_subscripts(n.rings_m, 1) i WHERE n.distance_m <= n.rings_m[i]) AS mine
        FROM near n
    )
    SELECT rings_m[mine] AS ring_m, CASE
        WHEN chosen = :member THEN 'offered'
        WHEN here IS NOT NULL THEN CASE gate[here]
            {_WHENS} ELSE 'turn' END
        WHEN ring IS NOT NULL AND mine > ring + 1 THEN 'nearer'
        ELSE 'away' END AS why, count(*) AS leads
    FROM placed WHERE mine IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2
""")  # noqa: S608 - numbers of ours
_ROTATIONS = sa.text(f"""
    SELECT DISTINCT ON (pool) pool, rotation FROM ({_RECENT}) r
    WHERE here IS NOT NULL AND rotation <> '' ORDER BY pool, generation DESC, seq DESC
""")  # noqa: S608 - words of ours

"""What members are told: a number of their own for each notice, in the order of commits and without gaps."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from routing.offer import Notice

Told = tuple[int, UUID, int, Notice]  # member, offer, lead, what


def tell_members(conn: sa.Connection, told: Sequence[Told], *, locked: bool = False) -> None:
    """Add these notices, inside another transaction that has the members `locked`, or locks no row after this.

    The member's row gives the number, so notices of one member commit in their order: who has read up to a number
    has missed nothing before it.
    """
    if told:
        values = {
            "members": [member for member, *_ in told],
            "offers": [offer for _, offer, *_ in told],
            "leads": [lead for *_, lead, _ in told],
            "whats": [str(what) for *_, what in told],
        }
        if not locked:
            conn.execute(_LOCK, {"members": sorted({member for member, *_ in told})})
        conn.execute(_TELL, values)


_LOCK = sa.text("SELECT 1 FROM members WHERE id = ANY(CAST(:members AS int[])) ORDER BY id FOR UPDATE")
_TELL = sa.text("""
    WITH told AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY member ORDER BY place) AS step
        FROM unnest(CAST(:members AS int[]), CAST(:offers AS uuid[]), CAST(:leads AS bigint[]), CAST(:whats AS text[]))
             WITH ORDINALITY AS x (member, offer, lead, what, place)
    ), counted AS (
        UPDATE members SET notices = notices + c.n
        FROM (SELECT member, count(*) AS n FROM told GROUP BY member) c
        WHERE members.id = c.member RETURNING members.id, notices - c.n AS before
    )
    INSERT INTO notices (member_id, number, offer_id, lead_id, what)
    SELECT told.member, counted.before + told.step, told.offer, told.lead, told.what
    FROM told JOIN counted ON counted.id = told.member
""")

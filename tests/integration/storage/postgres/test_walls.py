"""What a member's own role sees of the ledger, whatever is asked."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from routing.access import Role
from storage.postgres import schema
from storage.postgres.engine import connect, transaction
from storage.postgres.people import People
from storage.postgres.tables import lead_contacts, leads, notices, offers
from storage.postgres.walls import ROLE, as_member
from tests.integration.storage.postgres.rows import add_decisions, add_lead, add_members, add_offer, decision, weighed
from workers.embedded import Urls

#: What a partner may read at all; a new table is not among them until somebody put it behind the wall.
READABLE = {
    "accepted_places", "deliveries", "devices", "endpoints", "lead_contacts", "leads", "members", "notices", "offers",
    "people",
}  # fmt: skip


@pytest.fixture
def pair(engine: sa.Engine) -> tuple[int, int]:
    """Two members; the first holds lead 1 (offered) and 2 (accepted), the second lead 3 (accepted)."""
    first, second = add_members(engine, 2)
    with transaction(engine) as connection:
        for number, member, state in ((1, first, "offered"), (2, first, "accepted"), (3, second, "accepted")):
            lead = add_lead(connection, number, city="Troy", lat=42.7, lon=-73.7)
            made = decision(lead, member, [weighed(member)], seq=number)
            add_decisions(connection, [made])
            offer = add_offer(connection, made, state=state)
            connection.execute(sa.insert(lead_contacts).values(lead_id=lead, name=f"Zoe Marker {number}"))
            connection.execute(
                sa.insert(notices).values(member_id=member, number=number, offer_id=offer, lead_id=lead, what="x")
            )
    for member in (first, second):
        People(engine).add(name="Ann", email=f"{member}@example.com", role=Role.PARTNER, member=member, actor="test")
    return first, second


def test_a_member_sees_its_own_rows_and_no_others(engine: sa.Engine, pair: tuple[int, int]) -> None:
    first, _ = pair
    with as_member(engine, first) as connection:
        assert set(connection.scalars(sa.select(offers.c.member_id))) == {first}
        assert set(connection.scalars(sa.text("SELECT member_id FROM people"))) == {first}
        assert set(connection.scalars(sa.text("SELECT id FROM members"))) == {first}
        assert set(connection.scalars(sa.select(notices.c.number))) == {1, 2}
        assert len(connection.scalars(sa.select(leads.c.city)).all()) == 2


def test_contact_data_and_the_exact_place_are_seen_of_accepted_leads_only(
    engine: sa.Engine, pair: tuple[int, int]
) -> None:
    with as_member(engine, pair[0]) as connection:
        assert connection.scalars(sa.select(lead_contacts.c.name)).all() == ["Zoe Marker 2"]
        assert len(connection.execute(sa.text("SELECT lat, lon FROM accepted_places")).all()) == 1
    for column in ("lat", "lon", "salesforce_id", "told_lat"):
        with pytest.raises(sa.exc.ProgrammingError), as_member(engine, pair[0]) as connection:
            connection.execute(sa.text(f"SELECT {column} FROM leads"))  # noqa: S608 - names above


def test_what_was_taken_back_shows_contact_data_no_more(engine: sa.Engine, pair: tuple[int, int]) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text("UPDATE offers SET state = 'withdrawn', ended_at = now() WHERE state = 'accepted'"))
    with as_member(engine, pair[0]) as connection:
        assert connection.scalars(sa.select(lead_contacts.c.name)).all() == []
        assert connection.execute(sa.text("SELECT lat FROM accepted_places")).all() == []


def test_nothing_can_be_written_behind_the_wall(engine: sa.Engine, pair: tuple[int, int]) -> None:
    for statement in (
        "UPDATE offers SET state = 'accepted'",
        "DELETE FROM notices",
        "INSERT INTO people (member_id, role, name, email) VALUES (1, 'partner', 'x', 'x@x.x')",
        "TRUNCATE leads",
        "CREATE TABLE mine (id int)",
        "ALTER TABLE offers DISABLE ROW LEVEL SECURITY",
    ):
        with pytest.raises(sa.exc.ProgrammingError), as_member(engine, pair[0]) as connection:
            connection.execute(sa.text(statement))


def test_who_names_no_member_sees_nothing(engine: sa.Engine, pair: tuple[int, int]) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text(f"SET LOCAL ROLE {ROLE}"))
        for table in sorted(READABLE):
            assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() == 0  # noqa: S608 - above


def test_the_connection_is_itself_again_however_the_transaction_ended(engine: sa.Engine, pair: tuple[int, int]) -> None:
    def me() -> tuple[str, str]:
        with transaction(engine) as connection:
            row = connection.execute(sa.text("SELECT current_user, current_setting('app.member', true)")).one()
            return row[0], row[1] or ""

    mine = me()
    with as_member(engine, pair[0]):
        pass
    with pytest.raises(ZeroDivisionError), as_member(engine, pair[0]):
        raise ZeroDivisionError
    assert [me() for _ in range(10)] == [(mine[0], "")] * 10


def test_every_table_a_partner_may_read_is_behind_the_wall(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        may = connection.scalars(
            sa.text("""
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
              AND (has_table_privilege('fairturn_partner', oid, 'SELECT')
                   OR has_any_column_privilege('fairturn_partner', oid, 'SELECT'))
            """)
        ).all()
        walled = connection.scalars(sa.text("SELECT relname FROM pg_class WHERE relrowsecurity")).all()
        writes = connection.scalars(
            sa.text("""
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
              AND has_table_privilege('fairturn_partner', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
            """)
        ).all()
    assert set(may) == READABLE
    assert READABLE - {"accepted_places"} <= set(walled)
    assert writes == []


@pytest.fixture
def empty_databases(servers: Urls) -> Iterator[list[str]]:
    """Two databases of one server without any table."""
    names = [f"test_{uuid.uuid4().hex}" for _ in range(2)]
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield [servers.database_url.rpartition("/")[0] + "/" + name for name in names]
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_two_databases_of_one_server_may_be_migrated_at_once(empty_databases: list[str]) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(schema.upgrade, empty_databases))
    for url in empty_databases:
        engine = connect(url)
        with as_member(engine, 1) as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM offers")).scalar_one() == 0
        engine.dispose()


def test_a_user_without_the_right_to_make_roles_migrates_where_an_administrator_made_it(
    servers: Urls, empty_databases: list[str]
) -> None:
    url, name = empty_databases[0], f"owner_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        owner = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'owned'").format(owner))
        connection.execute(sql.SQL("GRANT fairturn_partner TO {}").format(owner))
        database = sql.Identifier(url.rpartition("/")[2])
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))
    try:
        theirs = url.partition("//")[0] + f"//{name}:owned@" + url.rpartition("@")[2]
        schema.upgrade(theirs)
        engine = connect(theirs)
        with as_member(engine, 1) as connection:
            assert connection.execute(sa.text("SELECT current_user")).scalar_one() == ROLE
        engine.dispose()
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

"""The servers of a run, and a house of its own on them: a database for each population."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from config import policy as policy_file
from config import settings
from storage.postgres import schema
from storage.postgres.engine import connect
from storage.postgres.ledger import RoutingLedger
from storage.postgres.members import MemberRow, Members
from storage.postgres.policies import Policies
from workers import house

#: So many members are imported as anybody would; the others are copied beside them.
IMPORTED = 1_000


@dataclass(frozen=True, slots=True)
class Base:
    """A ledger of its own, with one market and its members."""

    market: str
    url: str
    engine: sa.Engine
    ledger: RoutingLedger


class Servers:
    """Postgres and Valkey of a run; databases are made on demand and dropped by whoever made them."""

    def __init__(self, cfg: settings.Settings) -> None:
        self.database_url = cfg.database_url
        self.redis_url = cfg.turnstile()
        self.cfg = cfg

    @contextmanager
    def base(self, market: str, rows: Iterator[MemberRow]) -> Iterator[Base]:
        """A migrated database with these members in one market and one pool for every country."""
        name = f"bench_{market}"
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = settings.Settings(database_url=self.database_url.rpartition("/")[0] + "/" + name).sqlalchemy_url()
        schema.upgrade(url)
        engine = connect(url)
        try:
            publish(engine, market)
            Members(engine).upsert(list(islice(rows, IMPORTED)), actor="bench")
            _copy(url, rows)
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
            yield Base(market, url, engine, RoutingLedger(engine, policy_file.parse))
        finally:
            engine.dispose()
            self._administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running(directory: Path) -> Iterator[Servers]:
    """Embedded servers in this directory, and the settings that lead to them."""
    with house.opened(directory) as cfg:
        house.migrate()
        yield Servers(cfg)


def _copy(url: str, rows: Iterator[MemberRow]) -> None:
    """Put more members beside those that were imported: by COPY, as a million imports would take minutes."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE more (key text, name text, market text, capacity int, weight int, "
            "lat double precision, lon double precision)"
        )
        with cursor.copy("COPY more FROM STDIN") as copy:
            for row in rows:
                (place,) = row.places
                copy.write_row((row.key, row.name, row.market, row.capacity, row.weight, place.lat, place.lon))
        cursor.execute(
            "INSERT INTO members (key, name, market, capacity, weight) "
            "SELECT key, name, market, capacity, weight FROM more"
        )
        cursor.execute("ANALYZE members")
        cursor.execute(
            "INSERT INTO places (member_id, lat, lon) "
            "SELECT m.id, n.lat, n.lon FROM more n JOIN members m ON m.key = n.key"
        )
        cursor.execute("UPDATE markets SET roster_version = roster_version + 1")


def publish(engine: sa.Engine, market: str) -> None:
    """The default policy with this market's name."""
    made: dict[str, Any] = dict(policy_file.default_document())
    made["pools"] = [pool | {"market": market} for pool in made["pools"]]
    policy = policy_file.parse(made, 0)
    pools: Sequence[tuple[str, str, str]] = [(p.name, p.market, str(p.mode)) for p in policy.pools]
    Policies(engine).publish(made, list(policy.tiers.values()), policy.default_tier, pools, actor="bench")

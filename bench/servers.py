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

#: Members written in one statement.
CHUNK = 20_000


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
    def base(self, market: str, rows: Iterator[MemberRow], *, times: int = 1) -> Iterator[Base]:
        """A migrated database with these members, so many `times` each, in one market and one pool for all."""
        name = f"bench_{market}"
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = settings.Settings(database_url=self.database_url.rpartition("/")[0] + "/" + name).sqlalchemy_url()
        schema.upgrade(url)
        engine = connect(url)
        try:
            publish(engine, market)
            members = Members(engine)
            while chunk := list(islice(rows, CHUNK)):
                members.upsert(chunk, actor="bench")
            if times > 1:
                _multiply(url, times)
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


def _multiply(url: str, times: int) -> None:
    """Copies of every member and its places, a few miles away: what would take minutes by imports."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            "INSERT INTO members (key, name, market, country, tier, capacity, weight) "
            "SELECT key || '/' || n, name, market, country, tier, capacity, weight "
            "FROM members, generate_series(2, %s) AS n",
            (times,),
        )
        connection.execute(
            "INSERT INTO places (member_id, lat, lon) "
            "SELECT m.id, p.lat + 0.1 * (random() - 0.5), p.lon + 0.1 * (random() - 0.5) "
            "FROM members m JOIN members o ON o.key = split_part(m.key, '/', 1) "
            "JOIN places p ON p.member_id = o.id WHERE m.key <> o.key"
        )
        connection.execute("UPDATE markets SET roster_version = roster_version + 1")


def publish(engine: sa.Engine, market: str) -> None:
    """The default policy with this market's name."""
    made: dict[str, Any] = dict(policy_file.default_document())
    made["pools"] = [pool | {"market": market} for pool in made["pools"]]
    policy = policy_file.parse(made, 0)
    pools: Sequence[tuple[str, str, str]] = [(p.name, p.market, str(p.mode)) for p in policy.pools]
    Policies(engine).publish(made, list(policy.tiers.values()), policy.default_tier, pools, actor="bench")

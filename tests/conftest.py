"""Real servers for every test that asks: started once, a fresh database for each test."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis
from psycopg import sql

from storage.postgres import schema
from workers.embedded import Urls
from workers.embedded import servers as embedded

TEMPLATE = "template_migrated"
#: No test takes the power from the machine: what a killed server leaves is in the hands of the kernel.
CARELESS = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}
#: A database a test is seven hundred files made and removed: a tenth of the work where no disk is asked.
MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30
TESTS = Path(__file__).parent
#: What takes a minute or more begins first, so that at the end no worker is left alone with one of these.
LONGEST_FIRST = (
    "chaos/test_chaos.py",
    "integration/web/test_offers.py",
    "e2e/test_demo.py",
    "browser/test_app.py",
    "integration/web/test_ourselves.py",
    "integration/routing/test_limits.py",
    "e2e/test_up.py",
    "integration/routing/test_by_hand.py",
    "integration/routing/test_turns.py",
    "integration/lanes/test_many_workers.py",
    "integration/gateways/salesforce/test_subscriber.py",
    "integration/routing/test_timers.py",
    "integration/routing/test_capacity.py",
    "integration/delivery/test_people.py",
    "integration/routing/test_outage.py",
    "integration/routing/test_room.py",
    "integration/delivery/test_webhooks.py",
    "integration/ops/test_house.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The offline geocoder's file is made once for all tests, not once for each house they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRTURN_PLACES_DIR", str(tmp_path_factory.getbasetemp().parent / "places"))
        yield


@pytest.fixture(scope="session")
def large_towns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the geocoder's file of towns above 15,000 is, made by the first of all processes that asks for it."""
    return tmp_path_factory.getbasetemp().parent / "large-towns"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """Postgres and Valkey of this test session. Take `database_url` or `redis_url` for a place of your own."""
    place = _in_memory() or tmp_path_factory.mktemp("servers")
    with embedded(place, postgres=CARELESS) as urls:
        _let_in_quickly(urls)
        yield urls
    _remove(place)


@pytest.fixture(scope="session")
def administer(servers: Urls) -> Iterator[Callable[[sql.Composed], None]]:
    """Carry out a statement that no transaction can hold, over one connection for the whole session."""
    connection = psycopg.connect(servers.database_url, autocommit=True)

    def carried_out(statement: sql.Composed) -> None:
        nonlocal connection
        try:
            connection.execute(statement)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
            connection = psycopg.connect(servers.database_url, autocommit=True)
            connection.execute(statement)

    yield carried_out
    connection.close()


@pytest.fixture(scope="session")
def migrated_template(servers: Urls, administer: Callable[[sql.Composed], None]) -> str:
    """The name of a database with the newest schema and nothing in it."""
    administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    schema.upgrade(_to(servers, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(servers: Urls, migrated_template: str, administer: Callable[[sql.Composed], None]) -> Iterator[str]:
    """A database of this test alone, with the newest schema."""
    name = f"test_{uuid.uuid4().hex}"
    administer(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(migrated_template)
        )
    )
    yield _to(servers, name)
    administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database_url(servers: Urls, administer: Callable[[sql.Composed], None]) -> Iterator[str]:
    """A database of this test alone, without any table."""
    name = f"test_{uuid.uuid4().hex}"
    administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield _to(servers, name)
    administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis_url(servers: Urls) -> str:
    """Valkey with all its databases empty; the URL names number 0, the others are this test's as well."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


def _in_memory() -> Path | None:
    """A directory in memory, where there is plenty; what a session that was killed left there goes first."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return None
    for left in MEMORY.glob("fairturn-tests-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            _remove(left)
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) < ROOM:
        return None
    return Path(tempfile.mkdtemp(prefix=f"fairturn-tests-{os.getpid()}-", dir=MEMORY))


def _let_in_quickly(servers: Urls) -> None:
    """Some ten connections a test need no 4,096 rounds each to prove what is no secret."""
    password = urlsplit(servers.database_url).password
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("SET scram_iterations = 1")
        connection.execute(sql.SQL("ALTER USER CURRENT_USER PASSWORD {}").format(sql.Literal(password)))


def _to(servers: Urls, database: str) -> str:
    return servers.database_url.rpartition("/")[0] + "/" + database


def _remove(place: Path) -> None:
    for found in (place / "postgres", place / "valkey"):
        if found.is_symlink():
            shutil.rmtree(found.resolve().parent, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)

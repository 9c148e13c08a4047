"""The way into the ledger: one engine a process, and its errors in our words."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from routing.errors import GiveUp, LedgerOutdated, LedgerUnreachable, Refused, TryLater
from storage.postgres.values import read_json

Engine = sa.Engine

#: SQLSTATE classes: connection failure, insufficient resources, operator intervention, system error.
UNREACHABLE = ("08", "53", "57P", "58")
#: Serialization failure, deadlock, lock timeout, statement timeout.
CROWDED = ("40", "55P03", "57014")
#: No such table, column or function.
OUTDATED = ("42P01", "42703", "42883")
#: Program limit exceeded, such as a value too long for its index.
TOO_MUCH = "54"


def connect(url: str, *, pool_size: int = 5, statement_timeout_ms: int = 5000) -> sa.Engine:
    """An engine whose connections are made at first use.

    A connection that the server closed, or that a parent process opened before a fork, is replaced at checkout
    without a round trip: nobody needs to dispose of anything.
    """
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        hide_parameters=True,
        json_deserializer=read_json,
        connect_args={
            "connect_timeout": 5,
            "options": " ".join(
                f"-c {name}={value}"
                for name, value in (
                    ("timezone", "UTC"),
                    ("statement_timeout", statement_timeout_ms),
                    ("lock_timeout", 2000),
                    ("idle_in_transaction_session_timeout", 10_000),
                )
            ),
        },
    )
    sa.event.listen(engine, "do_connect", _say_who)
    sa.event.listen(engine, "connect", _remember_the_process)
    sa.event.listen(engine, "checkout", _replace_the_dead)
    return engine


def _say_who(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
    """Let the server's list of connections name the process that opened each, for whoever looks into a lock."""
    parameters["application_name"] = f"fairturn {os.getpid()}"


def _remember_the_process(_connection: Any, record: Any) -> None:
    record.info["pid"] = os.getpid()


def _replace_the_dead(connection: psycopg.Connection[Any], record: Any, proxy: Any) -> None:
    if record.info["pid"] != os.getpid():
        # The socket belongs to the parent: forget it without a word on the wire.
        record.dbapi_connection = proxy.dbapi_connection = None
        raise sa.exc.DisconnectionError("opened before the fork")
    if _has_news(connection):
        raise sa.exc.DisconnectionError("closed by the server")


def _has_news(connection: psycopg.Connection[Any]) -> bool:
    """Whether an idle connection has something to read, which is how a closed one looks."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction, committed at the end; what goes wrong is said in our words."""
    with guarded(), engine.begin() as connection:
        yield connection


@contextmanager
def guarded() -> Iterator[None]:
    """Translate the driver's errors: LedgerUnreachable, -Outdated, TryLater, Refused (with `constraint`) or GiveUp."""
    try:
        yield
    except sa.exc.TimeoutError as exc:
        raise LedgerUnreachable("every connection to the ledger is in use") from exc
    except sa.exc.DBAPIError as exc:
        raise _in_our_words(exc) from exc
    except psycopg.OperationalError as exc:
        raise LedgerUnreachable(sqlstate=exc.sqlstate or "") from exc


def _in_our_words(exc: sa.exc.DBAPIError) -> Exception:
    orig = exc.orig
    state = getattr(orig, "sqlstate", None) or ""
    constraint = orig.diag.constraint_name if isinstance(orig, psycopg.Error) else None
    _forget_values(exc)
    if isinstance(exc, sa.exc.IntegrityError):
        return Refused(f"the ledger refuses this: {constraint or state}", constraint=constraint or "", sqlstate=state)
    if state.startswith(CROWDED):
        return TryLater(f"the ledger is crowded ({state})", sqlstate=state)
    lost = exc.connection_invalidated or (isinstance(exc, sa.exc.OperationalError) and not state)
    if lost or state.startswith(UNREACHABLE):
        return LedgerUnreachable(sqlstate=state)
    if state in OUTDATED:
        return LedgerOutdated(sqlstate=state)
    if isinstance(exc, sa.exc.DataError) or state.startswith(TOO_MUCH):
        return GiveUp(f"the ledger cannot hold this value ({state})", sqlstate=state)
    return exc


def _forget_values(exc: sa.exc.DBAPIError) -> None:
    """Drop the row that Postgres quotes in an error's detail: it may be personal, and errors are logged."""
    if isinstance(exc.orig, psycopg.errors.IntegrityError | psycopg.errors.DataError):
        exc.orig.args = (f"SQLSTATE {exc.orig.sqlstate}",)
        exc.args = exc.orig.args

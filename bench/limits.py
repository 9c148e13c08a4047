"""What the servers alone can do, as lanes beside ours: a trivial script, rows into Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import redis

from bench.meter import Lane

SCRIPT = "return 1"
ONE_BY_ONE = 200
ROWS = 1000
ROW = "INSERT INTO bench_rows (lead, member, what) VALUES (%s, %s, %s)"


@contextmanager
def lanes(database_url: str, redis_url: str) -> Iterator[list[Lane]]:
    """A script that returns 1, called one by one and a hundred in a pipeline; rows by INSERT and COPY."""
    with redis.Redis.from_url(redis_url) as client, psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_rows (lead bigint, member int, what text)")
        try:
            yield [*_scripts(client), *_rows(connection)]
        finally:
            connection.execute("DROP TABLE bench_rows")


def _scripts(client: redis.Redis) -> list[Lane]:
    sha = client.script_load(SCRIPT)

    def one_by_one() -> int:
        for _ in range(ONE_BY_ONE):
            client.evalsha(sha, 0)
        return ONE_BY_ONE

    def pipelined() -> int:
        for _ in range(10):
            with client.pipeline(transaction=False) as pipe:
                for _ in range(100):
                    pipe.evalsha(sha, 0)
                pipe.execute()
        return 1000

    return [Lane("EVALSHA", one_by_one), Lane("EVALSHA, 100 in a pipeline", pipelined)]


def _rows(connection: psycopg.Connection) -> list[Lane]:
    def inserted() -> int:
        for lead in range(50):
            connection.execute(ROW, (lead, 7, "offered"))
        return 50

    def many() -> int:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(ROW, [(lead, 7, "offered") for lead in range(100)])
        return 100

    def copied() -> int:
        with connection.cursor().copy("COPY bench_rows FROM STDIN") as copy:
            for lead in range(ROWS):
                copy.write_row((lead, 7, "offered"))
        return ROWS

    return [
        Lane("INSERT, a commit each", inserted),
        Lane("INSERT, 100 a commit", many),
        Lane("COPY, 1,000 a commit", copied),
    ]

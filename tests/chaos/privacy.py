"""Nothing of a customer is anywhere but in the org and the ledger: every other place is searched for the marker."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
import requests

from config import settings
from config.flower_login import login
from tests.chaos.checkers import Check, Evidence, Finding
from tests.chaos.org import MARKER
from workers import house

#: Of the run's directory: the logs of all processes and of both servers, Valkey's files, the counts of the metrics.
PLACES = ("logs", "valkey", "metrics")
CHUNK = 1 << 22


def needles(marker: str) -> list[bytes]:
    """The marker in any case as text, and inside base64 at each of its three places, as messages of tasks are kept."""
    raw = marker.encode()
    inside = []
    for before in range(3):
        # Letters at both ends depend on what stands beside the marker.
        text = b64encode(bytes(before) + raw)
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        inside.append(text[first:last])
    return [raw, raw.upper(), *inside]


def nothing_personal_is_kept_elsewhere(seen: Evidence) -> Iterator[Finding]:
    """The marker is in the ledger, and not in a log, Valkey, its files, a metric or a page of Flower."""
    wanted = needles(MARKER)
    looked: dict[str, int] = {"ledger": seen.ledger.marked(MARKER)}
    if not looked["ledger"]:
        yield Finding("no_marker", "no customer in the ledger carries the marker: nothing is shown by its absence")
    for place, text in _everything(seen):
        looked[place.partition("/")[0]] = looked.get(place.partition("/")[0], 0) + len(text)
        if found := holds(text, wanted):
            yield Finding("personal_data", f"{place} holds {found!r}")
    seen.history.note("privacy", "looked", **looked)


def holds(text: bytes, wanted: Iterable[bytes]) -> bytes:
    """What stands around the first needle in the text; nothing when there is none."""
    at = next((place for needle in wanted if (place := text.find(needle)) >= 0), -1)
    return text[max(0, at - 60) : at + 40] if at >= 0 else b""


def _everything(seen: Evidence) -> Iterator[tuple[str, bytes]]:
    directory = seen.history.file.parent
    for place in PLACES:
        for file in sorted((directory / place).rglob("*")):
            if file.is_file() and file.name != "history.jsonl":
                yield from ((f"{place}/{file.name}", piece) for piece in pieces(file))
    yield from in_valkey(seen.redis_url)
    yield from _pages()


def pieces(file: Path) -> Iterator[bytes]:
    """A file in pieces that overlap by more than a needle is long."""
    rest = b""
    with file.open("rb") as opened:
        while block := opened.read(CHUNK):
            yield rest + block
            rest = block[-100:]


def in_valkey(url: str) -> Iterator[tuple[str, bytes]]:
    """Every key and every value of every database, as they are now: its files may be packed."""
    base = url.rpartition("/")[0]
    with redis.Redis.from_url(f"{base}/0", socket_timeout=30) as server:
        databases = [name.removeprefix("db") for name in server.info("keyspace")]
    for database in databases:
        with redis.Redis.from_url(f"{base}/{database}", socket_timeout=30) as client:
            for key in client.scan_iter(count=1000):
                yield f"keys/{database}", key + b"\n" + _value(client, key)


def _value(client: Any, key: bytes) -> bytes:
    match client.type(key):
        case b"string":
            return bytes(client.get(key) or b"")
        case b"list":
            return b"\n".join(client.lrange(key, 0, -1))
        case b"set":
            return b"\n".join(client.smembers(key))
        case b"zset":
            return b"\n".join(client.zrange(key, 0, -1))
        case b"hash":
            return b"\n".join(part for pair in client.hgetall(key).items() for part in pair)
        case b"stream":
            return repr(client.xrange(key)).encode()
        case _:  # it went meanwhile
            return b""


def _pages() -> Iterator[tuple[str, bytes]]:
    """What Flower shows of every task, where it runs, and the metrics as they are scraped."""
    cfg = settings.load()
    flower = f"http://{cfg.flower_host}:{cfg.flower_port}"
    addresses: list[tuple[str, str, tuple[str, str] | None]]
    addresses = [("metrics", f"http://{cfg.web_host}:{cfg.web_port}/metrics", None)]
    if house.answers(cfg.flower_host, cfg.flower_port)():
        pages = ("api/tasks?limit=20000", "tasks", "workers", "metrics")
        addresses += [("flower", f"{flower}/{page}", login(cfg)) for page in pages]
    with requests.Session() as session:
        session.trust_env = False
        for name, address, credentials in addresses:
            page = session.get(address, auth=credentials, timeout=60)
            page.raise_for_status()  # what cannot be looked into is not shown to be clean
            yield f"{name}/page", page.content


CHECKS: Sequence[Check] = (nothing_personal_is_kept_elsewhere,)

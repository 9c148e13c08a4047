"""What is measured: everything in metrics.yaml, and nothing else.

Processes count into files that they share with the web process, which shows them together. Each process holds a
locked slot, so that the files of the dead are carried on by the next and their number stays small.
"""

import fcntl
import os
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO

import structlog
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = structlog.get_logger()

_FILE_SIZE = 1 << 18


class Unlisted(LookupError):  # noqa: N818 - says what is wrong with the name
    """A metric, or a label of one, that is not in config/metrics.yaml."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric of the catalogue."""

    name: str
    type: str  # counter, histogram or gauge
    labels: tuple[str, ...]
    unit: str
    meaning: str
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of a gauge at a scrape."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@cache
def catalogue() -> Mapping[str, Entry]:
    """Every metric there is, by name."""
    listed = yaml.safe_load(files("config").joinpath("metrics.yaml").read_text("utf-8"))
    entries = [
        Entry(**{**item, "labels": tuple(item["labels"]), "buckets": tuple(item.get("buckets", ()))}) for item in listed
    ]
    return {entry.name: entry for entry in entries}


def entry(name: str, labels: Iterable[str], *types: str) -> Entry:
    """The metric's entry in the catalogue. Raises Unlisted when name, type or labels are not as listed there."""
    found = catalogue().get(name)
    if found is None or found.type not in types or set(found.labels) != set(labels):
        raise Unlisted(f"{name} with labels {sorted(labels)} is not a {' or '.join(types)} in config/metrics.yaml")
    return found


class _Slots:
    """The own files of a process in the shared directory; a forked child gets files of its own."""

    def __init__(self, directory: Path, process: str) -> None:
        self._directory, self._process = directory, process
        self._pid = 0
        self._held: IO[bytes] | None = None
        self._files: dict[str, MmapedDict] = {}
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget_parent)

    def add(self, kind: str, key: str, amount: float) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self._slot = self._take_slot()
                self._pid, self._files = os.getpid(), {}
            shared = self._files.get(kind) or self._open(kind)
            before, _ = shared.read_value(key)  # type: ignore[no-untyped-call]  # prometheus_client is typed in part
            shared.write_value(key, before + amount, 0.0)  # type: ignore[no-untyped-call]  # as above

    def _forget_parent(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have held it

    def _take_slot(self) -> str:
        self._directory.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            slot = f"{self._process}-{number}"
            held = (self._directory / f"{slot}.lock").open("wb")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.close()
                number += 1
                continue
            self._held = held  # locked until this process ends
            return slot

    def _open(self, kind: str) -> MmapedDict:
        path = self._directory / f"{kind}_{self._slot}.db"
        if not path.exists() or path.stat().st_size < _FILE_SIZE:
            # Written out in full: a sparse file on a full disk would kill the process at a later store.
            with path.open("ab") as new:
                new.write(bytes(_FILE_SIZE - new.tell()))
        self._files[kind] = MmapedDict(str(path))  # type: ignore[no-untyped-call]  # prometheus_client is typed in part
        return self._files[kind]


class _State:
    slots: _Slots | None = None


def share(directory: Path, process: str) -> None:
    """From now on this process (and those it forks) counts into files of `directory`; before, counts are dropped."""
    _State.slots = _Slots(directory, process)


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Add to a counter."""
    _add(entry(name, labels, "counter"), name, labels, amount)


def observe(name: str, value: float, **labels: str) -> None:
    """Note one value in a histogram."""
    found = entry(name, labels, "histogram")
    bounds = (*found.buckets, float("inf"))
    bound = bounds[bisect_left(bounds, value)]
    _add(found, f"{name}_bucket", {**labels, "le": "+Inf" if bound == float("inf") else str(float(bound))}, 1)
    _add(found, f"{name}_sum", labels, value)


def _add(found: Entry, sample: str, labels: Mapping[str, str], amount: float) -> None:
    if _State.slots is None:
        return
    names = [name for name in (*found.labels, "le") if name in labels]
    values = [labels[name] for name in names]
    key = mmap_key(found.name.removesuffix("_total"), sample, names, values, found.meaning)
    try:
        _State.slots.add(found.type, key, amount)
    except OSError as exc:
        # A full disk must not stop the routing of leads.
        log.warning("metrics.lost", metric=found.name, because=exc.strerror)


class _Scrape(Collector):
    """What was read for one scrape."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for sample in self._samples:
            found = entry(sample.name, sample.labels, "gauge")
            family = families.setdefault(
                found.name, GaugeMetricFamily(found.name, found.meaning, labels=list(found.labels))
            )
            family.add_metric([sample.labels[label] for label in found.labels], sample.value)
        yield from families.values()


def render(samples: Iterable[Sample], directory: Path) -> bytes:
    """The text Prometheus reads: these gauges, and what all processes counted into `directory`."""
    registry = CollectorRegistry()
    registry.register(_Scrape(samples))
    if directory.is_dir():
        MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]  # typed in part
    return generate_latest(registry)


def page() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made from `config/metrics.yaml` by `python -m config.metrics > docs/metrics.md`; a test keeps it current.",
        "",
        "`GET /metrics` of the web process shows all of them to Prometheus. Counters and histograms are counted by",
        "each process into files under the data directory's `metrics/`, so the processes of one data directory are",
        "shown together. Gauges are read from the ledger, the turnstile and the broker at each scrape; those of a part",
        "that does not answer are missing, and its `fairturn_up` is 0.",
        "",
        "| Metric | Type | Labels | Unit | Meaning |",
        "|---|---|---|---|---|",
    ]
    for item in catalogue().values():
        labels = ", ".join(f"`{label}`" for label in item.labels) or "-"
        lines.append(f"| `{item.name}` | {item.type} | {labels} | {item.unit} | {item.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

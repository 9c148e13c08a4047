import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import metrics
from config.metrics import Sample, Unlisted

ROOT = Path(__file__).parents[3]


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[Path]:
    metrics.share(tmp_path / "metrics", "test")
    yield tmp_path / "metrics"
    metrics._State.slots = None


def _work(times: int) -> None:
    for _ in range(times):
        metrics.count("fairturn_tasks_total", task="leads.route", outcome="done")


def test_the_page_of_metrics_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == metrics.page()


def test_every_name_says_what_it_is() -> None:
    for entry in metrics.catalogue().values():
        assert entry.name.startswith("fairturn_")
        assert entry.name.endswith("_total") == (entry.type == "counter")
        assert entry.meaning.endswith(".")
        assert bool(entry.buckets) == (entry.type == "histogram")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: metrics.count("fairturn_invented_total"),
        lambda: metrics.count("fairturn_tasks_total", task="x"),
        lambda: metrics.count("fairturn_tasks_total", task="x", outcome="done", lead="7"),
        lambda: metrics.observe("fairturn_tasks_total", 1, task="x", outcome="done"),
        lambda: metrics.render([Sample("fairturn_invented", 1)], Path("/nowhere")),
    ],
)
def test_what_is_not_in_the_catalogue_raises(wrong: Callable[[], object]) -> None:
    with pytest.raises(Unlisted):
        wrong()


def test_before_it_is_shared_counting_costs_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    metrics.count("fairturn_tasks_total", task="leads.route", outcome="done")
    assert metrics.render([], tmp_path) == b""


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")  # the watchdog of the tests is a thread
def test_processes_are_shown_together_and_a_successor_carries_on(counts: Path) -> None:
    fork = multiprocessing.get_context("fork")
    _work(1)
    for _generation in range(2):
        children = [fork.Process(target=_work, args=(3,)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
    text = metrics.render([], counts).decode()
    assert 'fairturn_tasks_total{outcome="done",task="leads.route"} 13.0' in text
    assert len(list(counts.glob("counter_*.db"))) <= 3


def test_a_histogram_adds_up(counts: Path) -> None:
    for value in (0.001, 0.02, 99):
        metrics.observe("fairturn_http_seconds", value, route="/readyz")
    text = metrics.render([], counts).decode()
    assert 'fairturn_http_seconds_bucket{le="0.005",route="/readyz"} 1.0' in text
    assert 'fairturn_http_seconds_bucket{le="0.025",route="/readyz"} 2.0' in text
    assert 'fairturn_http_seconds_bucket{le="+Inf",route="/readyz"} 3.0' in text
    assert 'fairturn_http_seconds_count{route="/readyz"} 3.0' in text


def test_gauges_carry_their_meaning_and_labels(tmp_path: Path) -> None:
    text = metrics.render([Sample("fairturn_queue_messages", 4, {"queue": "leads"})], tmp_path).decode()
    assert "# HELP fairturn_queue_messages Messages that wait in the broker." in text
    assert 'fairturn_queue_messages{queue="leads"} 4.0' in text


def test_a_place_that_cannot_be_written_costs_the_figures_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    metrics.share(tmp_path / "file", "test")
    metrics.count("fairturn_tasks_total", task="leads.route", outcome="done")
    metrics._State.slots = None

"""The supervisor, tried with real processes."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workers.supervisor import Job, ProcessFailed, Supervisor

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]

#: Says that it is there, then waits; at SIGTERM it writes its name to a common file and leaves.
POLITE = """
import signal, sys, time
def leave(*_):
    with open(sys.argv[2], "a") as farewells:
        farewells.write(sys.argv[1] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print(sys.argv[1], "is there")
time.sleep(600)
"""
#: Does not listen to SIGTERM, and has a child that does not either.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("stubborn")
time.sleep(600)
"""
#: A supervisor in a process of its own, so that it can be sent signals.
FOREGROUND = """
import sys
from pathlib import Path
from workers.supervisor import Job, Supervisor
with Supervisor(Path(sys.argv[1]), {}) as supervisor:
    for number, source in enumerate(sys.argv[2:]):
        supervisor.start(Job(f"job{number}", [sys.executable, "-c", source, "x", "/dev/null"], grace_s=1.0))
    print("up", flush=True)
    supervisor.run()
"""
WORKER = """
import os, sys
os.execv(sys.executable, [sys.executable, "-m", "celery", "-b", "memory://", "worker", "-c", "2", "-P", "prefork",
                          "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


def _polite(name: str, farewells: Path) -> Job:
    return Job(name, [sys.executable, "-c", POLITE, name, str(farewells)])


def _eventually(holds: Callable[[], bool], *, within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def _says(log: Path, words: str) -> Callable[[], bool]:
    return lambda: log.exists() and words in log.read_text()


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a supervisor in a process of its own and returns when its jobs run."""
    started: list[subprocess.Popen[str]] = []

    def start(*sources: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, str(tmp_path), *sources], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_G19_a_job_that_runs_and_does_nothing_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.supervisor.LOOK_EVERY_S", 0.05)
    answers = iter([True, True, False])
    job = Job("idle", [sys.executable, "-c", "import time; time.sleep(600)"], well=lambda: next(answers, True))
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(job)
        first = supervisor.running()["idle"]

        def another() -> bool:
            supervisor.tend()
            return supervisor.running().get("idle", first) != first

        _eventually(another)


def test_jobs_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    farewells = tmp_path / "farewells"
    with Supervisor(tmp_path / "logs", {}) as supervisor:
        for name in ("one", "two", "three"):
            supervisor.start(_polite(name, farewells))
            _eventually(_says(supervisor.log_of(name), "is there"))
        assert list(supervisor.running()) == ["one", "two", "three"]
    assert farewells.read_text().split() == ["three", "two", "one"]
    assert (tmp_path / "logs" / "two.log").read_text() == "two is there\n"


def test_a_job_is_started_when_the_one_before_is_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    make_ready = [sys.executable, "-c", f"import time; open({str(ready)!r}, 'w').close(); time.sleep(600)"]
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(Job("slow", make_ready, ready=ready.exists))
        assert ready.exists()


def test_a_job_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path, {}) as supervisor:
        job = Job("idle", [sys.executable, "-c", "import time; time.sleep(600)"], lambda: False, ready_within_s=0.2)
        with pytest.raises(ProcessFailed, match=r"idle is not ready after .*idle\.log"):
            supervisor.start(job)


def test_a_job_that_dies_while_starting_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(tmp_path, {}) as supervisor:
        job = Job("broken", [sys.executable, "-c", "raise SystemExit('no such topic')"], ready=lambda: False)
        with pytest.raises(ProcessFailed, match=r"broken ended while starting: no such topic .*broken\.log"):
            supervisor.start(job)


def test_a_readiness_question_may_be_refused_at_first(tmp_path: Path) -> None:
    answers = iter([ConnectionRefusedError(), ConnectionResetError(), None])

    def ready() -> bool:
        if answer := next(answers):
            raise answer
        return True

    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(Job("shy", [sys.executable, "-c", "import time; time.sleep(600)"], ready=ready))


def test_a_job_finds_the_environment_it_was_given_and_our_rooms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "routing.py").write_text("raise SystemExit('taken for our room')")
    monkeypatch.chdir(tmp_path)
    source = "import os, routing.errors, time; print(os.environ['A'], os.environ['B']); time.sleep(600)"
    with Supervisor(tmp_path, {"A": "1", "B": "2"}) as supervisor:
        supervisor.start(Job("reader", [sys.executable, "-c", source], env={"B": "3"}))
        _eventually(_says(supervisor.log_of("reader"), "1 3"))


def test_a_crashed_job_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(_polite("one", tmp_path / "farewells"))
        before = supervisor.running()["one"]
        os.kill(before, signal.SIGKILL)

        def is_back() -> bool:
            supervisor.tend()
            return supervisor.running().get("one", before) != before

        _eventually(is_back)


def test_a_job_that_keeps_crashing_is_given_up_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.supervisor.FIRST_PAUSE_S", 0.001)
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(Job("broken", [sys.executable, "-c", "raise SystemExit('out of luck')"]))
        with pytest.raises(ProcessFailed, match=r"broken keeps ending: out of luck"):
            supervisor.run()


def test_what_jobs_log_is_echoed_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("said yesterday\n")
    terminal = io.StringIO()
    with Supervisor(tmp_path, {}, echo=terminal) as supervisor:
        supervisor.start(_polite("one", tmp_path / "farewells"))
        supervisor.start(Job("another", [sys.executable, "-c", "import time; print('hello'); time.sleep(600)"]))

        def both_spoke() -> bool:
            supervisor.tend()
            return "hello" in terminal.getvalue() and "is there" in terminal.getvalue()

        _eventually(both_spoke)
    assert sorted(terminal.getvalue().splitlines()) == ["    one | one is there", "another | hello"]


def test_a_job_that_ignores_sigterm_is_ended_with_its_children_after_its_grace(tmp_path: Path) -> None:
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(Job("stubborn", [sys.executable, "-c", STUBBORN], grace_s=0.2))
        _eventually(lambda: len(_family(supervisor.running()["stubborn"])) == 2)
        family = _family(supervisor.running()["stubborn"])
    _eventually(lambda: not _alive(family))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(
    foreground: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    process = foreground(POLITE, STUBBORN)
    _eventually(_says(tmp_path / "job1.log", "stubborn"))
    family = _family(process.pid)
    assert len(family) >= 5  # itself, its reaper, two jobs and a child of one
    process.send_signal(number)
    process.wait(timeout=30)
    _eventually(lambda: not _alive(family))


def test_a_second_signal_does_not_wait_for_the_stubborn(tmp_path: Path) -> None:
    source = FOREGROUND.replace("grace_s=1.0", "grace_s=600.0")
    with subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path), STUBBORN], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        _eventually(_says(tmp_path / "job0.log", "stubborn"))
        family = _family(process.pid)

        def ended() -> bool:
            process.send_signal(signal.SIGTERM)
            return process.poll() is not None

        _eventually(ended)
    _eventually(lambda: not _alive(family))


@pytest.mark.long
def test_nothing_is_left_when_the_supervisor_is_killed_not_even_children_of_a_worker(
    foreground: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = foreground(POLITE, STUBBORN, textwrap.dedent(WORKER))
    _eventually(_says(tmp_path / "job1.log", "stubborn"))
    _eventually(_says(tmp_path / "job2.log", "ready."))
    family = _family(process.pid)
    assert len(family) >= 8  # also the worker and its two children
    process.kill()
    _eventually(lambda: not _alive(family), within_s=40)


def test_a_killed_reaper_is_missed_by_nobody(tmp_path: Path) -> None:
    with Supervisor(tmp_path, {}) as supervisor:
        supervisor.start(_polite("one", tmp_path / "farewells"))
        (reaper,) = [p for p in psutil.Process().children() if "workers.reaper" in p.cmdline()]
        reaper.kill()
        reaper.wait()
        supervisor.start(_polite("two", tmp_path / "farewells"))
        family = [psutil.Process(pid) for pid in supervisor.running().values()]
    assert not _alive(family)

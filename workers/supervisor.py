"""The processes of the house in the foreground of one terminal: started in order, kept running, all gone at the end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from routing.errors import GiveUp
from workers.lifeline import die_with_parent
from workers.logfiles import last_words, opened

ROOT = Path(__file__).resolve().parents[1]
#: A process that ends more often than this within a minute is not started again.
RESTARTS_A_MINUTE = 5
FIRST_PAUSE_S = 0.5
#: How often it is asked whether a running job is well.
LOOK_EVERY_S = 5.0
LONGEST_PAUSE_S = 15.0


class ProcessFailed(GiveUp):
    """A process of the house does not start, or does not stay up."""


@dataclass(frozen=True, slots=True)
class Job:
    """One process: what runs, how one sees that it is ready, how long it may take to leave."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool] | None = None
    ready_within_s: float = 60.0
    grace_s: float = 20.0
    env: Mapping[str, str] = field(default_factory=dict)
    well: Callable[[], bool] | None = None  # asked now and then; False: it runs and does nothing, start it anew


@dataclass(slots=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    restarts: list[float] = field(default_factory=list)
    again_at: float | None = None
    looked_at: float = field(default_factory=time.monotonic)
    echoed_to: int = 0


class Supervisor:
    """Runs jobs until told to stop; as a context manager it leaves nothing behind, whatever ends it.

    Inside the context SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt; while it stops the
    jobs, a second signal means "at once". If it is killed outright, a small process of its own (workers.reaper) and
    the kernel end the jobs. Use it from the main thread.
    """

    def __init__(self, log_dir: Path, env: Mapping[str, str], *, echo: TextIO | None = None) -> None:
        self._log_dir = log_dir
        self._env = dict(env)
        self._echo = echo
        self._running: list[_Running] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._hurry = False

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, _leave)
        self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._previous:
            signal.signal(number, self._hurry_up)
        try:
            self.stop()
        finally:
            for number, previous in self._previous.items():
                signal.signal(number, previous)

    def start(self, job: Job) -> None:
        """Start one job and return when it is ready. Raises ProcessFailed with its last words."""
        running = _Running(job, self._spawn(job), echoed_to=self._size(job))
        self._running.append(running)
        until = time.monotonic() + job.ready_within_s
        while job.ready is not None and not _holds(job.ready):
            if running.process.poll() is not None:
                raise ProcessFailed(f"{job.name} ended while starting: {self._epitaph(job)}")
            if time.monotonic() > until:
                raise ProcessFailed(f"{job.name} is not ready after {job.ready_within_s:g} s: {self._epitaph(job)}")
            time.sleep(0.05)

    def tend(self) -> None:
        """Restart what has ended, pass on what was logged; call this now and then. Raises ProcessFailed."""
        for running in self._running:
            if running.process.poll() is not None:
                self._revive(running)
            elif not self._is_well(running):
                self._say(running.job.name, "runs and does nothing, ending it")
                _kill_group(running.process.pid)
            self._pass_on(running)

    def _is_well(self, running: _Running) -> bool:
        now = time.monotonic()
        if running.job.well is None or now - running.looked_at < LOOK_EVERY_S:
            return True
        running.looked_at = now
        return running.job.well()

    def run(self) -> None:
        """Tend the jobs until a signal ends this process."""
        while True:
            self.tend()
            time.sleep(0.2)

    def running(self) -> dict[str, int]:
        """Process ids by name, of the jobs that run at this moment."""
        return {r.job.name: r.process.pid for r in self._running if r.process.poll() is None}

    def log_of(self, name: str) -> Path:
        """The log file of the job with this name."""
        return self._log_dir / f"{name}.log"

    def stop(self) -> None:
        """End all jobs, the last started first: asked by SIGTERM, forced when their grace is over."""
        while self._running:
            running = self._running[-1]
            self._end(running)
            self._running.pop()
        self._dismiss_reaper()

    def _end(self, running: _Running) -> None:
        process = running.process
        if process.poll() is None:
            process.terminate()
            until = time.monotonic() + running.job.grace_s
            while process.poll() is None and time.monotonic() < until and not self._hurry:
                time.sleep(0.02)
        _kill_group(process.pid)
        process.wait()
        self._pass_on(running)
        self._tell_reaper(f"-{process.pid}")

    def _spawn(self, job: Job) -> subprocess.Popen[bytes]:
        environment = os.environ | self._env | dict(job.env)
        # The rooms are found from any directory, and nothing in that directory is taken for one of them.
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        with opened(self.log_of(job.name)) as log:
            process = subprocess.Popen(
                list(job.argv),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is meant for us; we tell them one after the other
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - only prctl, in a single thread
            )
        self._tell_reaper(f"+{process.pid}")
        return process

    def _revive(self, running: _Running) -> None:
        """Start an ended job again, after a pause that doubles with each time."""
        now = time.monotonic()
        if running.again_at is None:
            _kill_group(running.process.pid)
            self._tell_reaper(f"-{running.process.pid}")
            running.restarts = [at for at in running.restarts if at > now - 60] + [now]
            if len(running.restarts) > RESTARTS_A_MINUTE:
                raise ProcessFailed(f"{running.job.name} keeps ending: {self._epitaph(running.job)}")
            running.again_at = now + min(FIRST_PAUSE_S * 2 ** (len(running.restarts) - 1), LONGEST_PAUSE_S)
            self._say(running.job.name, f"ended with {running.process.returncode}, starting it again")
        if now >= running.again_at:
            running.process = self._spawn(running.job)
            running.again_at = None

    def _epitaph(self, job: Job) -> str:
        log = self.log_of(job.name)
        return f"{last_words(log)} (all of it in {log})."

    def _size(self, job: Job) -> int:
        return self.log_of(job.name).stat().st_size if self._echo else 0

    def _pass_on(self, running: _Running) -> None:
        """Echo the lines that a job has completed since the last time."""
        if self._echo is None:
            return
        path = self.log_of(running.job.name)
        running.echoed_to = min(running.echoed_to, path.stat().st_size)
        with path.open("rb") as log:
            log.seek(running.echoed_to)
            whole, newline, _ = log.read().rpartition(b"\n")
        running.echoed_to += len(whole) + len(newline)
        for line in whole.splitlines():
            self._say(running.job.name, line.decode(errors="replace"))

    def _say(self, name: str, line: str) -> None:
        if self._echo is not None:
            width = max(len(r.job.name) for r in self._running)
            print(f"{name:>{width}} | {line}", file=self._echo, flush=True)

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-m", "workers.reaper"],
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        if self._reaper.stdin is not None:
            # A reaper that somebody killed is no reason to stop: it is the second net.
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(f"{line}\n".encode())
                self._reaper.stdin.flush()

    def _dismiss_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.communicate()
            self._reaper = None

    def _hurry_up(self, _number: int, _frame: FrameType | None) -> None:
        self._hurry = True


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _holds(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:  # not listening yet
        return False


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)

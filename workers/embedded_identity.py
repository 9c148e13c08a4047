"""Under whose name an embedded server runs: `initdb` and `postgres` refuse to be root."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from routing.errors import GiveUp
from workers.lifeline import die_with_parent

CLONE_NEWUSER = 0x10000000  # <linux/sched.h>
AsRoot = Literal["auto", "namespace", "nobody"]


class NoUsableIdentity(GiveUp):
    """Postgres cannot be started by root here. Start it as an ordinary user."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a server is: ourselves, ourselves under another number inside a user namespace, or another user."""

    uid: int | None = None
    gid: int | None = None
    in_namespace: bool = False

    def popen(self, *, dies_by: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
        """What `Popen` needs so that the child is this identity and dies with its parent."""
        last = die_with_parent(dies_by)
        if self.in_namespace:
            return {"preexec_fn": _after(enter_namespace(), last)}
        if self.uid is None:
            return {"preexec_fn": last}
        return {"preexec_fn": last, "user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make a file or directory this identity's own."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_run(self, program: Path, inside: Path) -> bool:
        """Whether this identity may run the program and work in the directory."""
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", inside, program],
                cwd="/",
                check=False,
                capture_output=True,
                timeout=30,
                **self.popen(),
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Lodging:
    """Where Postgres lives and as whom: its programs, its data, its identity."""

    programs: Path
    data: Path
    identity: Identity


def enter_namespace() -> Callable[[], None]:
    """For `Popen(preexec_fn=...)`: root becomes uid 1000 in a user namespace; its files stay root's.

    user_namespaces(7): a process may map its own uid, one line, once setgroups is denied.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()

    def enter() -> None:
        if libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "user namespaces are refused here")
        for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
            Path("/proc/self", name).write_text(text)

    return enter


def _after(first: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        first()
        then()

    return both


def owner_of(directory: Path) -> Identity:
    """The identity that root takes on to serve a directory of somebody else's; ourselves in every other case."""
    if os.getuid() != 0 or not directory.is_dir():
        return Identity()
    stat = directory.stat()
    return Identity() if stat.st_uid == 0 else Identity(stat.st_uid, stat.st_gid)


def lodge_postgres(data_dir: Path, programs: Path, *, as_root: AsRoot = "auto") -> Lodging:
    """Find an identity for Postgres and a place for its data that this identity can reach.

    An ordinary user is itself. Root enters a user namespace; where those are refused, or cannot reach the place,
    it hands the work to `nobody`, in a directory of its own that `data_dir/postgres` then points to.
    """
    place = data_dir / "postgres"
    if os.getuid() != 0:
        return Lodging(programs, place, Identity())
    if place.is_symlink() and not place.exists():  # the directory it pointed to was tidied away
        place.unlink()
    owner = owner_of(place)
    if owner.uid is not None and not place.is_symlink():
        return Lodging(programs, place, owner)
    if as_root != "nobody" and not place.is_symlink():
        apart = Identity(in_namespace=True)
        if apart.can_run(programs / "postgres", data_dir):
            return Lodging(programs, place, apart)
    if as_root == "namespace":
        raise NoUsableIdentity("User namespaces are refused here. Start as an ordinary user.")
    return _lodge_as_nobody(place, programs)


def _lodge_as_nobody(place: Path, programs: Path) -> Lodging:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as exc:
        raise NoUsableIdentity from exc
    nobody = Identity(entry.pw_uid, entry.pw_gid)
    home = place.resolve().parent if place.is_symlink() else Path(tempfile.mkdtemp(prefix="fairturn-", dir="/var/tmp"))
    home.chmod(0o711)
    data = home / "postgres"
    if not place.is_symlink():
        _move_in(place, data, nobody)
    return Lodging(_reachable(programs, home, nobody), data, nobody)


def _move_in(place: Path, data: Path, owner: Identity) -> None:
    """Data that was kept at `place` moves along; `place` then points to where it went."""
    if place.is_dir():
        shutil.move(place, data)
        for path in (data, *data.rglob("*")):
            if not path.is_symlink():
                owner.give(path)
    place.symlink_to(data, target_is_directory=True)


def _reachable(programs: Path, home: Path, identity: Identity) -> Path:
    """The programs themselves when the identity can run them, else a copy that it can."""
    if identity.can_run(programs / "postgres", home):
        return programs
    copy = home / f"programs-{int(programs.stat().st_mtime)}"
    if not copy.exists():
        half = Path(tempfile.mkdtemp(prefix="copying-", dir=home))
        shutil.copytree(programs.parent, half, dirs_exist_ok=True, ignore=shutil.ignore_patterns("include"))
        for path in (half, *half.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        half.rename(copy)
    if not identity.can_run(copy / "bin" / "postgres", home):
        raise NoUsableIdentity(f"The user nobody cannot run programs in {home}. Start as an ordinary user.")
    return copy / "bin"

"""Disks that fill up on order: small file systems in memory, where this machine lets us mount them."""

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOM = "2g"


@dataclass(frozen=True, slots=True)
class Disk:
    """One mounted place."""

    place: Path

    def fill(self) -> None:
        """No room from now on: the file system shrinks to what is on it."""
        for _ in range(20):  # somebody writes while we measure
            used = os.statvfs(self.place)
            kept = (used.f_blocks - used.f_bfree) * used.f_frsize
            if _mount("-o", f"remount,size={kept}", str(self.place)) == 0:
                return
            time.sleep(0.01)

    def empty(self) -> None:
        """Room again."""
        _mount("-o", f"remount,size={ROOM}", str(self.place))

    def unmount(self) -> None:
        """Gone; what was on it stays at its place."""
        kept = self.place.with_name(f"{self.place.name}.kept")
        subprocess.run(["cp", "-a", str(self.place), str(kept)], check=False, capture_output=True)
        subprocess.run(["umount", "--lazy", str(self.place)], check=False, capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)
        kept.rename(self.place)


def mounted(place: Path) -> Disk | None:
    """A disk of its own at this place; None where mounting is refused."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if os.getuid() == 0 and _mount("-t", "tmpfs", "-o", f"size={ROOM},mode=0700", "fairturn", str(place)) == 0:
            return Disk(place)
    return None


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode

"""Ends process groups whose starter is gone: told of them on stdin, it acts when stdin ends.

Lines are `+PGID` for a group to look after and `-PGID` for one that has ended.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 10.0


def main() -> None:
    """Listen until the starter is gone, then end what it left: asked first, forced after a while."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    _tell(groups, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while any(_exists(group) for group in groups) and time.monotonic() < until:
        time.sleep(0.1)
    _tell(groups, signal.SIGKILL)


def _tell(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()

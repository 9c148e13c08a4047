"""Processes that do not outlive the one that started them."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent(with_signal: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """For `Popen(preexec_fn=...)`: the child gets the signal when its parent dies, however the parent dies.

    The kernel ties this to the parent's *thread*, and forgets it at a change of user or user namespace: call Popen
    from the main thread, and call what this returns last. Linux only; elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return _nothing
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return arrange


def _nothing() -> None:
    pass

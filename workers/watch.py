"""Is a worker that runs at work? A ping proves only that somebody listens; here something has to be done."""

import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from config import wiring
from routing.errors import FairturnError
from tasks.app import app, tell

#: Without a sign of life for so long a queue is asked; without an answer to that for so long nobody is there.
QUIET_S, ANSWER_S = 30.0, 10.0
#: No task of ours takes this long.
LONGEST_TASK_S = 900.0


@dataclass(slots=True)
class Watch:
    """Asked now and then whether the worker of these queues is well; False means that it must be started anew.

    It is not, when a canary sent to the head of one of its queues is not answered while none of its tasks runs. When
    the ledger or the broker is away nothing can be said, and nobody is blamed.
    """

    queues: Sequence[str]
    ages: Callable[[], Mapping[str, float]]  # seconds since each queue's last sign of life
    ask: Callable[[str], bool]  # send a canary; False when the broker did not take it
    busy: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    _since: float = field(default=-math.inf)
    _asked: float | None = None

    def __call__(self) -> bool:
        """Whether the worker is well, as far as can be said."""
        now = self.clock()
        if self._since == -math.inf:
            self._since = now
        try:
            ages = self.ages()
        except FairturnError:
            return True
        quiet = {q: age for q in self.queues if (age := min(ages.get(q, math.inf), now - self._since)) > QUIET_S}
        if not quiet:
            self._asked = None
            return True
        if self._asked is None:
            sent = [self.ask(queue) for queue in quiet]
            self._asked = now if all(sent) else None
            return True
        if now - self._asked < ANSWER_S or (min(quiet.values()) < LONGEST_TASK_S and self.busy()):
            return True
        self._since, self._asked = now, None
        return False


def over(node: str, queues: Sequence[str]) -> Watch:
    """The watch over one worker of this machine, by its Celery node name without the host."""
    return Watch(queues, _ages, _ask, lambda: _busy(f"{node}@{socket.gethostname()}"))


def _ages() -> dict[str, float]:
    return {beat.name.removeprefix("queue:"): beat.age_s for beat in wiring.heartbeats().all()}


def _ask(queue: str) -> bool:
    return tell("sweep.canary", [queue], queue=queue)


def _busy(node: str) -> bool:
    try:
        active = app.control.inspect(destination=[node], timeout=2).active()
    except Exception:  # noqa: BLE001 - whatever ails the broker, nothing can be said of the worker
        return True
    return any((active or {}).values())

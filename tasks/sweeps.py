"""Doors to what beat starts; each may be lost, doubled or run beside itself without harm."""

import socket
from datetime import timedelta

from config import wiring
from config.simulation import shadow
from tasks.app import announce, app, nudge, task_id

#: A comparison with Salesforce lets others to the worker after this time; the relay has it gone on with.
A_WHILE = timedelta(seconds=20)


@app.task(name="sweep.relay")
def relay() -> dict[str, int]:
    """Bring back what lost its message, end offers whose deadline passed."""
    return wiring.sweeper(announce, nudge).relay(task_id=task_id() or "")


@app.task(name="sweep.hourly")
def hourly() -> dict[str, int]:
    """Compare with Salesforce what changed since the last sweep."""
    counts = wiring.sweeper(announce, nudge).hourly(within=A_WHILE, task_id=task_id() or "")
    wiring.heartbeats().beat("sweep.hourly", socket.gethostname())
    return counts


@app.task(name="sweep.resync")
def resync() -> dict[str, int]:
    """Go on with every comparison with Salesforce that nobody holds."""
    return wiring.comparer(announce, nudge).work(within=A_WHILE, task_id=task_id() or "")


@app.task(name="sweep.members")
def members() -> dict[str, int]:
    """Look which members became inactive in Salesforce, and which are back."""
    return wiring.leavers(announce, nudge).look()


@app.task(name="sweep.turns")
def turns() -> dict[str, int]:
    """Follow the accounts of turns, and set right what besides decisions is worth a turn."""
    return wiring.turn_keeper().keep()


@app.task(name="sweep.ahead")
def ahead() -> dict[str, int]:
    """Look who is on the way to miss its minimum, and which rotations nobody needs any more."""
    return wiring.turn_keeper().look_ahead()


@app.task(name="sweep.nightly")
def nightly() -> dict[str, int]:
    """Compare every open record of Salesforce with the ledger, both ways."""
    counts = wiring.comparer(announce, nudge).everything(within=A_WHILE, task_id=task_id() or "")
    wiring.heartbeats().beat("sweep.nightly", socket.gethostname())
    return counts


@app.task(name="sweep.seal")
def seal() -> dict[str, int | str]:
    """Seal what was written since the last time; the log keeps the newest seal, elsewhere than the ledger."""
    sealed, newest = wiring.seals().seal(), wiring.seals().newest()
    return {"sealed": sealed, **({"newest": f"{newest[0]}:{newest[1]}"} if newest else {})}


@app.task(name="sweep.shadow")
def follow_shadow() -> dict[str, int]:
    """Let the draft that runs beside live catch up, when there is one."""
    return shadow.follower().follow()


@app.task(name="sweep.remove")
def remove() -> dict[str, int]:
    """Remove what is over and older than it is to be kept."""
    return wiring.retention().remove(within=A_WHILE)


@app.task(name="sweep.traces")
def traces() -> dict[str, int]:
    """Show the collector of traces what happened to leads since the last time."""
    shown = wiring.traces()
    return {} if shown is None else {"spans": shown.show()}


@app.task(name="sweep.reject")
def reject(queue: str, reason: str, size: int, sample: str) -> dict[str, int]:
    """Park what the doorkeeper found in a queue: one letter a kind of it, with the beginning of the last one."""
    kept = {"bytes": size, "note": "messages are hints: nothing was lost with it"}
    wiring.parked().park("message", f"{queue[:40]}: {reason[:80]}", reason[:80], input=kept, raw=bytes.fromhex(sample))
    return {"parked": 1}


@app.task(name="sweep.canary")
def canary(queue: str) -> dict[str, int]:
    """Prove that somebody works on this queue; a ping only proves that somebody listens."""
    wiring.heartbeats().beat(f"queue:{queue}", socket.gethostname())
    return {}

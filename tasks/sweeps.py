"""Doors to what beat starts; each may be lost, doubled or run beside itself without harm."""

import socket
from datetime import datetime

from config import wiring
from tasks.app import announce, app, nudge, task_id


@app.task(name="sweep.relay")
def relay() -> dict[str, int]:
    """Bring back what lost its message, end offers whose deadline passed."""
    return wiring.sweeper(announce, nudge).relay(task_id=task_id() or "")


@app.task(name="sweep.hourly")
def hourly() -> dict[str, int]:
    """Compare with Salesforce what changed since the last sweep."""
    counts = wiring.sweeper(announce, nudge).hourly(task_id=task_id() or "")
    wiring.heartbeats().beat("sweep.hourly", socket.gethostname())
    return counts


@app.task(name="sweep.resync")
def resync(since: str) -> dict[str, int]:
    """Read every Salesforce record that changed since a time (ISO 8601)."""
    return wiring.sweeper(announce, nudge).resync(datetime.fromisoformat(since), task_id=task_id() or "")


@app.task(name="sweep.traces")
def traces() -> dict[str, int]:
    """Show the collector of traces what happened to leads since the last time."""
    shown = wiring.traces()
    return {} if shown is None else {"spans": shown.show()}


@app.task(name="sweep.canary")
def canary(queue: str) -> dict[str, int]:
    """Prove that somebody works on this queue; a ping only proves that somebody listens."""
    wiring.heartbeats().beat(f"queue:{queue}", socket.gethostname())
    return {}

"""Doors to what leaves the house."""

from config import wiring
from tasks.app import app, nudge, task_id


@app.task(name="outbox.deliver")
def deliver() -> dict[str, int]:
    """Show Salesforce every lead as it stands now."""
    return wiring.outbound(nudge).deliver(task_id=task_id() or "")


@app.task(name="outbox.free")
def free() -> dict[str, int]:
    """Give back the places of ended offers, first of all to waiting leads."""
    return wiring.outbound(nudge).free(task_id=task_id() or "")

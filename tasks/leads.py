"""Doors to a lead's way: each takes ids and does what is still to do for them."""

from config import wiring
from tasks.app import announce, app, nudge, task_id


@app.task(name="leads.intake")
def intake(event_ids: list[int]) -> dict[str, int]:
    """Read stored events into their leads."""
    return wiring.journey(announce, nudge).intake(event_ids, task_id=task_id() or "")


@app.task(name="leads.refresh")
def refresh() -> dict[str, int]:
    """Read again from Salesforce what events did not say in full."""
    return wiring.journey(announce, nudge).refresh(task_id=task_id() or "")


@app.task(name="leads.heed")
def heed() -> dict[str, int]:
    """Give the answers that people gave in Salesforce."""
    return wiring.heeder(announce, nudge).heed(task_id=task_id() or "")


@app.task(name="leads.geocode")
def geocode(lead_ids: list[int]) -> dict[str, int]:
    """Find the places of new leads."""
    return wiring.journey(announce, nudge).locate(lead_ids, task_id=task_id() or "")


@app.task(name="leads.route")
def route(lead_ids: list[int]) -> dict[str, int]:
    """Offer leads to members, or say why not."""
    return wiring.journey(announce, nudge).route(lead_ids, task_id=task_id() or "")


@app.task(name="leads.wake")
def wake() -> dict[str, int]:
    """Plan waiting leads again that something changed for."""
    return wiring.journey(announce, nudge).wake(task_id=task_id() or "")


@app.task(name="leads.fill")
def fill(member_ids: list[int]) -> dict[str, int]:
    """Offer waiting leads to members who have room since their record changed."""
    filled = sum(wiring.dispatcher().fill(m, member_ids, task_id=task_id() or "") for m in wiring.members().versions())
    nudge("outbox.deliver")
    return {"offered": filled}

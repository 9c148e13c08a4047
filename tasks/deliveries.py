"""Doors to what members are told."""

from config import wiring
from tasks.app import app


@app.task(name="deliveries.send")
def send() -> dict[str, int]:
    """Make out what members are to be told, and start every delivery that is due; what hangs is not waited for."""
    courier = wiring.courier()
    return courier.work() if courier else {}

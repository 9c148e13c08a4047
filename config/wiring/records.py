"""What was: history, seals, verification, simulation, export."""

from functools import cache
from typing import TYPE_CHECKING

from config import settings, version
from storage.postgres.export import Export
from storage.postgres.find import Find
from storage.postgres.history import History
from storage.postgres.reexecution import Reexecution
from storage.postgres.reprocess import Reprocess
from storage.postgres.retention import Retention
from storage.postgres.seals import Seals
from storage.postgres.steps_shown import StepsShown
from storage.postgres.verify import Verify

if TYPE_CHECKING:
    from gateways.traces import Traces
from config import wiring


@cache
def traces() -> "Traces | None":
    """The way to the collector of traces; None where none is set."""
    from gateways.traces import Traces  # noqa: PLC0415 - its libraries take a third of a second to load

    cfg = settings.load()
    if not cfg.otlp_endpoint:
        return None
    timeline = StepsShown(wiring.engine())
    return Traces.to(
        cfg.otlp_endpoint, timeline, deployment=cfg.deployment, version=version.VERSION, share=cfg.trace_share
    )


@cache
def export() -> Export:
    return Export(wiring.engine())


@cache
def find() -> Find:
    """Looks for leads by filters."""
    return Find(wiring.engine())


@cache
def history() -> History:
    """The house as it was."""
    return History(wiring.engine())


@cache
def seals() -> Seals:
    """Seals over what was written."""
    return Seals(wiring.engine())


@cache
def retention() -> Retention:
    """Removes what is older than FAIRTURN_KEEP_DAYS."""
    return Retention(wiring.engine(), settings.load().keep_days)


@cache
def reprocess() -> Reprocess:
    """Sends chosen leads through the house once more."""
    return Reprocess(wiring.engine())


@cache
def reexecution() -> Reexecution:
    """Makes past decisions again from what was kept of them."""
    return Reexecution(wiring.engine(), wiring.parse_policy)


@cache
def verifier() -> Verify:
    return Verify(wiring.engine())

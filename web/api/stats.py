"""The house in figures."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from storage.postgres.stats import Stats


def routes(stats: Callable[[], Stats]) -> APIRouter:
    """`/stats`."""
    router = APIRouter(prefix="/stats", tags=["stats"])

    @router.get("", summary="Leads by what became of them, latencies, throughput, breaches")
    def summary() -> dict[str, Any]:
        """Counts the whole ledger: for people, not for a scrape every second. /metrics is cheap."""
        return stats().summary()

    return router

"""The house in figures."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from storage.postgres.gates import GateState
from storage.postgres.stats import Stats
from web.api.said import said


def routes(stats: Callable[[], Stats], gate: Callable[[], GateState]) -> APIRouter:
    """`/stats`."""
    router = APIRouter(prefix="/stats", tags=["stats"])

    @router.get(
        "",
        operation_id="getStats",
        summary="Leads by what became of them, latencies, throughput, breaches",
        responses=said(200, 403),
    )
    def summary() -> dict[str, Any]:
        """Counts the whole ledger: for people, not for a scrape every second. /metrics is cheap.

        `salesforce` says how many API calls are used, and why nobody calls when nobody does (`because`).
        """
        return {**stats().summary(), "salesforce": asdict(gate())}

    return router

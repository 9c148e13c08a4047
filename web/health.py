"""/healthz, /readyz and /metrics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Response
from starlette.responses import JSONResponse

from config import metrics
from config.ops import Ops
from routing.access import Scope
from web.identity import allow


def routes(ops: Callable[[], Ops], *, counts: Path) -> APIRouter:
    """Whether this process lives, whether the installation can route a lead, and its figures."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="This process is alive")
    def healthz() -> dict[str, str]:
        """Says nothing about its neighbours: restarting this process would not mend them."""
        return {"status": "ok"}

    @router.get(
        "/readyz", summary="A lead that comes in now would be routed", responses={503: {"description": "It would not"}}
    )
    def readyz() -> JSONResponse:
        """Ledger, turnstile and broker answer; no event waits 10 s; a worker of each queue took a canary lately."""
        checks = ops().checks()
        ready = all(check.ok for check in checks)
        body: dict[str, Any] = {
            "ready": ready,
            "checks": {
                check.name: {"ok": check.ok, "detail": check.detail, "took_ms": check.took_ms} for check in checks
            },
        }
        return JSONResponse(body, 200 if ready else 503)

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        dependencies=[Depends(allow(Scope.OPERATE))],
        response_class=Response,
    )
    def figures() -> Response:
        """Listed and explained in docs/metrics.md."""
        return Response(metrics.render(ops().samples(), counts), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router

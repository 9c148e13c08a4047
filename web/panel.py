"""The public panel: every promise, and how often it was seen broken; plain HTML, no script, nothing from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from storage.postgres.invariants import Invariant


def routes(all_of: Callable[[], Sequence[Invariant]], *, style: str) -> APIRouter:
    """The page, with the style sheet at `style`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/invariants")
    def page() -> HTMLResponse:
        return HTMLResponse(render(all_of(), style))

    return router


def render(found: Sequence[Invariant], style: str) -> str:
    """All promises as one table."""
    broken = sum(one.violations for one in found)
    verdict = f"{broken} violations, over all history" if found else "Nothing was looked at yet; start `standby`"
    rows = "\n".join(_row(one) for one in found)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Fairturn: invariants</title>
<link rel="stylesheet" href="{escape(style)}"></head>
<body>
<h1>What must never be</h1>
<p><strong>{escape(verdict)}</strong></p>
<table>
<thead><tr><th scope="col">Promise</th><th scope="col">Violations</th><th scope="col">Last checked</th>
<th scope="col">All of history</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def _row(one: Invariant) -> str:
    times = [f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (one.checked_at, one.whole_at)]
    cells = [one.meaning or one.name, str(one.violations), *times]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"

"""The public panel: every promise, how often it was broken, how fair turns are; plain HTML, nothing from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from storage.postgres.followed import RotationFairness
from storage.postgres.invariants import Invariant


def routes(
    all_of: Callable[[], Sequence[Invariant]], *, fair: Callable[[], Sequence[RotationFairness]], style: str
) -> APIRouter:
    """The page, with the style sheet at `style`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/invariants")
    def page() -> HTMLResponse:
        return HTMLResponse(render(all_of(), style, fair()))

    return router


def render(found: Sequence[Invariant], style: str, rotations: Sequence[RotationFairness] = ()) -> str:
    """All promises as one table, and all rotations as another; nobody is named."""
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
{_fairness(rotations)}
</body>
</html>
"""


def _fairness(rotations: Sequence[RotationFairness]) -> str:
    """How far anyone is from what is due to it, in turns, rotation by rotation."""
    if not rotations:
        return ""
    rows = "\n".join(_rotation(one) for one in rotations)
    return f"""<h1>How fair turns are</h1>
<table>
<thead><tr><th scope="col">Rotation</th><th scope="col">Members</th><th scope="col">Decisions</th>
<th scope="col">Farthest now</th><th scope="col">Farthest ever</th><th scope="col">Bound, in turns</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _rotation(one: RotationFairness) -> str:
    numbers = [f"{one.worst_now:.3f}", f"{one.worst_ever:.3f}", "none" if one.bound is None else f"{one.bound:.3f}"]
    cells = [one.rotation, str(one.members), str(one.decisions), *numbers]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _row(one: Invariant) -> str:
    times = [f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (one.checked_at, one.whole_at)]
    cells = [one.meaning or one.name, str(one.violations), *times]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"

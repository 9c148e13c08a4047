"""Every type of problem there is, for docs/api.md: `python -m web.problems` writes its table there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from routing import access, errors, offer, versions
from storage.postgres import chances, endpoints, ledger, open_pool, replays, team
from web import errors as faces
from web.api.partner import team as ours
from web.errors import BY_STATUS, KINDS, kebab

#: Where refusals are named that a caller can meet.
ROOMS: tuple[ModuleType, ...] = (
    access,
    errors,
    offer,
    chances,
    endpoints,
    ledger,
    open_pool,
    replays,
    team,
    versions,
    faces,
    ours,
)
PAGE = Path(__file__).parents[1] / "docs" / "api.md"
_PLACE = re.compile(r"(<!-- problems:[^\n]*-->\n).*(<!-- end of problems -->)", re.DOTALL)
#: What others are built on, or what no answer carries.
_NONE = {"FairturnError", "GiveUp", "Away"}
_HTTP = {
    400: "The request is not HTTP as it should be.",
    404: "There is nothing at this address.",
    405: "The address does not take this method; `Allow` says which it does.",
    406: "The answer cannot be given as you ask for it.",
    413: "The body is too long.",
    415: "The body is not JSON, or does not say so.",
}


def table() -> str:
    """Type, status and meaning, by status."""
    rows = sorted({*_refusals(), *((BY_STATUS[status], status, meaning) for status, meaning in _HTTP.items())})
    lines = [
        f"| `{name}` | {status} | {meaning} |" for name, status, meaning in sorted(rows, key=lambda r: (r[1], r[0]))
    ]
    return "\n".join(["| type | status | meaning |", "|---|---|---|", *lines])


def _refusals() -> Iterator[tuple[str, int, str]]:
    for room in ROOMS:
        for kind in vars(room).values():
            if isinstance(kind, type) and issubclass(kind, errors.FairturnError) and kind.__name__ not in _NONE:
                status = next(status for base, status, _ in KINDS if issubclass(kind, base))
                yield kebab(kind.__name__), status, " ".join((kind.__doc__ or "").split())


def page(text: str) -> str:
    """The page with the table as it is now."""
    return _PLACE.sub(lambda found: f"{found[1]}{table()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{PAGE}\n")

"""Members out of a CSV into the roster: places found, bad rows parked, waiting leads offered to new room."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from config import wiring
from routing.errors import TryLater
from routing.policy import Policy
from storage.postgres.members import ImportResult, MemberRow
from tasks.app import announce
from workers.rows import BadRow, MemberInput, read_members

#: Addresses looked up together.
PAGE = 100
#: Between tries, when others hold what an import wants to write.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to."""

    added: int
    changed: int
    same: int
    bad: tuple[BadRow, ...]
    unnamed_tiers: dict[str, int]  # tiers the policy does not name, with how many members have them


def members(file: Path, *, actor: str, console: Console, capacity: int | None = None) -> Imported:
    """Make the roster's members as the file says; given twice, the second time changes nothing.

    `capacity` overrides the file's. Raises BadInput when the file cannot be read at all.
    """
    policy = wiring.ledger().published()
    rows = list(read_members(file, tiers=policy.tiers))
    bad = [row for row in rows if isinstance(row, BadRow)]
    found = [row for row in rows if isinstance(row, MemberInput)]
    placed, lost = _placed(found, file, console)
    admitted = [_admitted(row, policy, capacity) for row in placed]
    homeless = [_no_pool(row, file) for row, market in zip(placed, admitted, strict=True) if market is None]
    good = [row for row in admitted if row is not None]
    bad += [*lost, *homeless]
    wiring.parked().resolve_all("csv_member", f"{file.name}:")  # what is still wrong is parked anew
    for row in bad:
        wiring.parked().park("csv_member", f"{row.file}:{row.line}", row.reason, input=dict(row.input))
    result = _patiently(lambda: wiring.members().upsert(good, actor=actor))
    if result.member_ids_changed:
        announce("leads.fill", list(result.member_ids_changed))
    unnamed = Counter(row.tier for row in good if row.tier and row.tier not in policy.tiers)
    return Imported(result.added, result.changed, result.same, tuple(bad), dict(unnamed.most_common()))


def _patiently(write: Callable[[], ImportResult]) -> ImportResult:
    """Write beside a house at work, whose batches hold the rows of members for moments."""
    for pause_s in PAUSES_S:
        try:
            return write()
        except TryLater:
            time.sleep(pause_s)
    return write()


def _placed(rows: list[MemberInput], file: Path, console: Console) -> tuple[list[MemberInput], list[BadRow]]:
    """The members with every branch placed; those with a branch nobody can place are told apart."""
    placed = [row for row in rows if not row.unplaced]
    todo = [row for row in rows if row.unplaced]
    lost: list[BadRow] = []
    pages = [todo[n : n + PAGE] for n in range(0, len(todo), PAGE)]
    for page in track(
        pages, "Placing members", console=console, transient=True, disable=not (todo and console.is_terminal)
    ):
        answers = iter(wiring.geocoder().locate([address for row in page for address in row.unplaced]))
        for row in page:
            points = [next(answers) for _ in row.unplaced]
            known = tuple(p.point for p in points if p is not None)
            if len(known) == len(points):
                placed.append(replace(row, row=replace(row.row, places=(*row.row.places, *known)), unplaced=()))
            else:
                lost.append(_unknown_place(row, file))
    return placed, lost


def _admitted(row: MemberInput, policy: Policy, capacity: int | None) -> MemberRow | None:
    pool = policy.pool_for(row.row.country)
    if pool is None:
        return None
    return replace(row.row, market=pool.market, capacity=capacity if capacity is not None else row.row.capacity)


def _unknown_place(row: MemberInput, file: Path) -> BadRow:
    fix = "Give lat and lon, or a postal code or city that exists."
    return BadRow(file.name, row.line, "postal_code", f"postal_code: nobody knows this address. {fix}", _told(row))


def _no_pool(row: MemberInput, file: Path) -> BadRow:
    fix = "Give a country that a pool of the policy serves, or add it to a pool."
    return BadRow(file.name, row.line, "country", f"country: no pool serves {row.row.country!r}. {fix}", _told(row))


def _told(row: MemberInput) -> dict[str, str]:
    return {"partner_id": row.row.key, "country": row.row.country}

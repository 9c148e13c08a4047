"""What is told of a policy's versions: what a check found, with the lead that shows it; who, when, what changed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config import policy_checking, policy_text, wiring
from config.publisher import Entry
from routing.errors import BadInput
from routing.finding import Finding, Severity
from routing.policy_diff import Difference
from routing.versions import Version
from workers import house

#: Findings told when a version is kept or published; `fairturn policy check VERSION` tells all.
FIRST = 10
#: Differences of one version shown in the history; --json has them all.
SHOWN = 8


# --- findings


def checked(what: str, *, against_roster: bool, data_dir: Path | None) -> list[Finding]:
    """What is to be said about a policy file, or a version; what keeps it from being read is one error among them."""
    try:
        if not against_roster and not _is_version(what):
            return policy_checking.findings(policy_text.load(Path(what)))
        with house.opened(data_dir, new=False):
            publisher = wiring.publisher()
            document = publisher.document(version_of(what)) if _is_version(what) else policy_text.load(Path(what))
            policy = wiring.parse_policy(document, 0)
            contents = wiring.contents().get
            return policy_checking.findings(document, wiring.people_now(), policy=policy, contents=contents)
    except BadInput as exc:
        return [policy_checking.unreadable(exc)]


def _is_version(what: str) -> bool:
    return (what == "live" or what.isdecimal()) and not Path(what).is_file()


def named(what: str) -> str:
    """How a report calls what it was made of."""
    return f"version {what}" if what.isdecimal() and _is_version(what) else what


def version_of(what: str) -> int | None:
    """The number of a version as people write it; None for the one in force. Raises BadInput."""
    if what == "live":
        return None
    if not what.isdecimal() or not 0 < int(what) < 2**31:
        raise BadInput(f"{what!r} is no version", field="version", fix="Give a number, or `live` for the one in force.")
    return int(what)


def lines(what: str, found: Sequence[Finding]) -> Iterator[str]:
    """The report, line by line."""
    for one in found:
        yield from told(one, what)
    yield summary(what, found)


def told(one: Finding, what: str = "") -> Iterator[str]:
    """One finding: what is wrong and where, the lead that shows it, and the fix."""
    place = f"{what}:{one.line}:{one.column}: " if one.line and what else ""
    yield f"{one.severity.value}: {place}{one.path + ': ' if one.path else ''}{one.message}. [{one.code}]"
    if one.witness:
        yield f"    shown by: {shown(one.witness)}"
    yield f"    fix: {one.fix}"


def kept(version: Version, before: Version | None = None) -> Iterator[str]:
    """What was found when a version was kept or published and not in the one before: what matters most of it."""
    known = {(one["code"], one["message"]) for one in before.findings} if before else set()
    found = [Finding.of(one) for one in version.findings]
    grave = [one for one in found if one.severity is not Severity.NOTE and (one.code, one.message) not in known]
    for one in grave[:FIRST]:
        yield from told(one)
    if left := len(found) - len(grave[:FIRST]):
        yield f"{left} more, known before or less grave: fairturn policy check {version.version}"


def summary(what: str, found: Sequence[Finding]) -> str:
    """One line on all of it."""
    if not found:
        return f"{what} is sound."
    counts = Counter(one.severity for one in found)
    said = ", ".join(f"{counts[kind]} {kind.value}{'s' * (counts[kind] != 1)}" for kind in Severity if counts[kind])
    verdict = "can be published" if policy_checking.publishable(found) else "cannot be published"
    return f"{what} {verdict}: {said}."


def shown(witness: Mapping[str, Any]) -> str:
    """A lead, or what else shows a finding, in one line."""
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in sorted(witness.items()))


# --- differences and the history


def show_differences(out: Console, found: Sequence[Difference]) -> None:
    """One line each."""
    for one in found:
        style = {"+": "green", "-": "red"}.get(one.told[0], "yellow")
        out.print(one.told, style=style, markup=False, soft_wrap=True)
    if not found:
        out.print("They say the same.")


def show_entry(out: Console, entry: Entry) -> None:
    """One version of the history."""
    one = entry.version
    table = Table.grid(padding=(0, 2))
    when = one.published_at or one.publish_at or one.created_at
    table.add_row(f"[bold]version {one.version}[/bold]", str(one.state), f"{when:%Y-%m-%d %H:%M:%S %Z}")
    out.print(table)
    by = f", published by {one.published_by}" if one.published_at else ""
    out.print(f"  by {' and '.join(one.names) or 'nobody'}{by}; {entry.decisions:,} decisions", markup=False)
    for line in filter(None, (one.note, one.problem)):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    for change in entry.changes[:SHOWN]:
        out.print(f"    {escape(change.told)}", soft_wrap=True)
    if len(entry.changes) > SHOWN:
        out.print(f"    ... and {len(entry.changes) - SHOWN} more (--json has all)")


def version_told(one: Version) -> dict[str, Any]:
    """A version as plain JSON values."""
    times = {
        name: at.isoformat() if (at := getattr(one, name)) else None
        for name in ("created_at", "publish_at", "published_at", "retired_at")
    }
    names = (
        "version",
        "edition",
        "digest",
        "author",
        "note",
        "base",
        "replaced",
        "restores",
        "published_by",
        "problem",
    )
    approved = [{"name": by.name, "wrote": by.wrote, "at": by.at.isoformat()} for by in one.signed]
    known = {name: getattr(one, name) for name in names} | {"state": str(one.state), "names": list(one.names)}
    return known | times | {"signed": approved, "findings": list(one.findings)}


def entry_told(entry: Entry) -> dict[str, Any]:
    """An entry of the history as plain JSON values."""
    changes = [one.to_json() for one in entry.changes]
    return version_told(entry.version) | {"decisions": entry.decisions, "changes": changes}

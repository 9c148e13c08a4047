"""The check of a policy file for people: what was found, where, the lead that shows it, and the fix."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from config import policy_checking, policy_text, wiring
from routing.errors import BadInput
from routing.finding import Finding, Severity
from workers import house


def checked(file: Path, *, against_roster: bool, data_dir: Path | None) -> list[Finding]:
    """What is to be said about a policy file; what keeps it from being read is one error among them."""
    try:
        document = policy_text.load(file)
        if not against_roster:
            return policy_checking.findings(document)
        with house.opened(data_dir, new=False):
            policy = wiring.parse_policy(document, 0)
            known = policy_checking.people(wiring.members(), wiring.ledger().open_counts)
        return policy_checking.findings(document, known, policy=policy)
    except BadInput as exc:
        return [policy_checking.unreadable(exc)]


def lines(file: Path, found: Sequence[Finding]) -> Iterator[str]:
    """The report, line by line."""
    for one in found:
        place = f"{file}:{one.line}:{one.column}: " if one.line else ""
        yield f"{one.severity.value}: {place}{one.path}: {one.message}. [{one.code}]"
        if one.witness:
            yield f"    shown by: {_shown(one)}"
        yield f"    fix: {one.fix}"
    yield summary(file, found)


def summary(file: Path, found: Sequence[Finding]) -> str:
    """One line on all of it."""
    if not found:
        return f"{file} is sound."
    counts = Counter(one.severity for one in found)
    said = ", ".join(f"{counts[kind]} {kind.value}{'s' * (counts[kind] != 1)}" for kind in Severity if counts[kind])
    verdict = "can be published" if policy_checking.publishable(found) else "cannot be published"
    return f"{file} {verdict}: {said}."


def _shown(one: Finding) -> str:
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in one.witness.items())

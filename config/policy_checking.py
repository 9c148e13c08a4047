"""The check of a policy document, its stored examples with it; findings say where in its text they stand."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from config.policy import Document, parse
from config.policy_rules import ExamplePart, no_contents
from config.policy_tables import Contents
from config.policy_text import Written
from config.policy_words import suggestion
from gateways.countries import codes
from routing.check_people import People
from routing.check_rules import Expected, Stored
from routing.errors import BadInput
from routing.finding import Finding, error
from routing.limits import Uses
from routing.policy import Policy
from routing.policy_check import check, publishable
from routing.vocabulary import Kind, Vocabulary
from storage.postgres.members import Members

__all__ = ["People", "findings", "look_through", "people", "publishable", "refuse", "unreadable"]


def findings(
    document: Mapping[str, Any],
    known: People | None = None,
    *,
    policy: Policy | None = None,
    contents: Contents = no_contents,
    now: datetime | None = None,
) -> list[Finding]:
    """What is to be said about a document, errors first. Raises BadInput when it is no policy at all.

    `policy`: what was made of it, if that was done.
    """
    policy = policy or parse(document, 0, contents=contents)
    wrong: list[Finding] = []
    stored = list(_stored(document, policy, wrong))
    found = wrong + check(policy, known, now=now or datetime.now(UTC), countries=codes(), stored=stored)
    return [one.at(document.place(one.way)) for one in found] if isinstance(document, Written) else found


def look_through(
    document: Mapping[str, Any], policy: Policy, known: People, *, contents: Contents = no_contents
) -> list[dict[str, Any]]:
    """What is kept with a version. Raises BadInput for what must not be published."""
    found = findings(document, known, policy=policy, contents=contents)
    refuse(found)
    return [one.to_dict() for one in found]


def people(
    members: Members, open_counts: Callable[[str], Mapping[int, int]], uses: Callable[[str], Uses] | None = None
) -> People:
    """Everyone there is, by market, with what they hold, and what of limits is used."""
    markets = sorted(members.versions())
    held = {member: count for market in markets for member, count in open_counts(market).items()}
    used = {market: uses(market) for market in markets} if uses else {}
    return People({market: members.roster(market, full=True) for market in markets}, held, used)


def refuse(found: list[Finding]) -> None:
    """Raise BadInput with the first error there is; warnings are no reason."""
    worst = next((one for one in found if not publishable([one])), None)
    if worst is not None:
        place = f" (line {worst.line}, column {worst.column})" if worst.line else ""
        raise BadInput(worst.message, field=f"{worst.path}{place}", fix=worst.fix, findings=len(found))


def unreadable(exc: BadInput) -> Finding:
    """As a finding, what keeps a document from being read."""
    said = str(exc).removeprefix(f"{exc.field}: ").removesuffix(exc.fix).rstrip(". ")
    place = _PLACE.fullmatch(exc.field)
    if place is None:
        return error("unreadable", (exc.field,), said, exc.fix)
    path, line, column = place["path"], int(place["line"]), int(place["column"] or 1)
    if path and place["within"]:
        path += place["within"]
    if place["of_it"]:
        said = f"{said} ({place['of_it']})"
    return error("unreadable", (path,) if path else (), said, exc.fix).at((line, column))


#: How errors of a document that was read from a file tell the place; of a condition, or an area, with the place in it.
_PLACE = re.compile(
    r"(?:(?P<path>\S+) \((?=.*\)))?[^()]* line (?P<line>\d+)(?:, column (?P<column>\d+))?\)?"
    r"(?:(?P<within>[.\[]\S+)|, (?P<of_it>line \d+ column \d+ of it))?"
)


def _stored(document: Mapping[str, Any], policy: Policy, wrong: list[Finding]) -> Iterator[Stored]:
    """The examples of all rules; what one speaks of and nobody knows is an error of its own."""
    if policy.rulebook is None or not any(rule.get("examples") for rule in document.get("rules") or ()):
        return
    vocabulary = policy.rulebook.around.vocabulary
    for at, rule in enumerate(Document.model_validate(document).rules):
        for number, example in enumerate(rule.examples):
            facts = _facts(example, vocabulary, ("rules", at, "examples", number), wrong)
            if facts is not None:
                yield Stored(at, number, facts, _expected(example))


def _facts(
    example: ExamplePart, vocabulary: Vocabulary, way: tuple[str | int, ...], wrong: list[Finding]
) -> dict[str, Any] | None:
    """The facts as rules read them; None when one of them cannot be read."""
    raw: dict[str, object] = {f"lead.{name}": value for name, value in example.lead.items() if value is not None}
    if example.now is not None:
        raw["now"] = example.now
    known = {**vocabulary.kinds, "now": Kind.TIME}
    read = Vocabulary(known).read(raw, [name for name in raw if name in known])
    for name, value in raw.items():
        where = (*way, "now") if name == "now" else (*way, "lead", name.removeprefix("lead."))
        if name not in known:
            own = [fact for fact in known if fact.startswith("lead.")]
            wrong.append(error("unknown_fact", where, f"nothing is called {name} here", suggestion(name, own)))
        elif name not in read:
            wrong.append(
                error("unreadable_fact", where, f"{value!r} is no {known[name]}", f"Write a {known[name]} there.")
            )
    return read if len(read) == len(raw) else None


def _expected(example: ExamplePart) -> Expected:
    said = example.expect.model_dump(exclude_none=True, mode="json")
    match = said.pop("match", None)
    return Expected(match, said)

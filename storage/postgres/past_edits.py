"""What others did to leads on their way, read back: what each was before its facts changed, and who sent it on when.

Facts of a lead are kept as they are now. What they were is known from decisions, which keep whatever rules looked at,
and from rules that waited for facts: those were not there yet.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from routing.given import LEAD
from routing.lead import Lead, Point, Precision, Reason
from routing.policy import Policy
from routing.simulation.past import PastEdit, PastLead, us

_CHANGES = frozenset({"updated", "moved", "ruled_again", "rerouted"})
_SENT_ON = frozenset({"released", "reprocessed"})


@dataclass(slots=True)
class _Way:
    """What is known of one lead's way, each by time in microseconds."""

    edits: list[tuple[int, str, str]] = field(default_factory=list)  # what, and the rule that is passed over
    asides: list[tuple[int, str, str, int]] = field(default_factory=list)  # why, the rule, the version of the policy
    decided: list[tuple[int, int, str, Mapping[str, Any]]] = field(default_factory=list)  # version, pool, inputs


def with_edits(
    conn: sa.Connection, leads: Sequence[PastLead], values: Mapping[str, Any], policy: Callable[[int], Policy]
) -> list[PastLead]:
    """The same leads as they came in, with what others did to them later."""
    ways: defaultdict[int, _Way] = defaultdict(_Way)
    for row in conn.execute(_STEPS, dict(values)):
        if row.what in _CHANGES | _SENT_ON:
            ways[row.lead_id].edits.append((us(row.at), row.what, row.rule if row.what == "released" else ""))
        else:
            ways[row.lead_id].asides.append((us(row.at), row.reason or "", row.rule or "", row.policy_version or 0))
    changed = [lead for lead, way in ways.items() if any(what in _CHANGES for _, what, _ in way.edits)]
    for row in conn.execute(_LOOKED_AT, {**values, "leads": changed}) if changed else ():
        ways[row.lead_id].decided.append((us(row.at), row.policy_version, row.pool, row.inputs))
    since: datetime = values["since"]
    return [_with(one, ways[one.lead.id], us(since), policy) if one.lead.id in ways else one for one in leads]


def _with(one: PastLead, way: _Way, since: int, policy: Callable[[int], Policy]) -> PastLead:
    """Backwards from how it is now: before each change it was as it was looked at before that change."""
    lead, edits, end = one.lead, list[PastEdit](), 2**62
    for at, what, rule in reversed(way.edits):
        if what in _SENT_ON:
            edits.append(PastEdit(at, what, rule=rule))
            continue
        if at < since:
            continue
        after = _as_looked_at(lead, way, at, end, policy)
        edits.append(PastEdit(at, what, after))
        lead, end = after, at
    lead = _as_looked_at(lead, way, 0, end, policy)
    asides = tuple(at for at, *_ in way.asides if at >= since)
    return replace(one, lead=lead, edits=tuple(reversed(edits)), asides=asides)


def _as_looked_at(lead: Lead, way: _Way, begin: int, end: int, policy: Callable[[int], Policy]) -> Lead:
    """The lead from one moment to another, as far as anybody looked at it then; else as it was after."""
    for _, version, pool, inputs in (d for d in reversed(way.decided) if begin <= d[0] < end):
        lead = _as_it_was(lead, inputs, _asked(policy(version), pool))
    waited = (a for a in way.asides if begin <= a[0] < end and a[1] == Reason.MISSING_FACTS and a[3])
    missing = {fact for _, _, rule, version in waited for fact in _waited_for(policy(version), rule)}
    return replace(lead, facts={n: v for n, v in lead.facts.items() if n not in missing}) if missing else lead


def _as_it_was(lead: Lead, inputs: Mapping[str, Any], asked: Iterable[str]) -> Lead:
    """The lead with what a decision kept of it; what it asked for and did not find was not there."""
    known: Mapping[str, Any] = inputs.get(LEAD, {})
    found = {name: inputs[name] for name in asked if name in inputs}
    facts = {name: value for name, value in lead.facts.items() if name not in asked} | found
    return replace(
        lead,
        facts=facts,
        country=known.get("country", lead.country),
        place=Point(*known["place"]) if "place" in known else lead.place,
        precision=Precision(known["precision"]) if "precision" in known else lead.precision,
        priority=known.get("priority", lead.priority),
    )


def _asked(policy: Policy, pool: str) -> Sequence[str]:
    """The facts of a lead that were looked at for this pool: by rules, by points of priority, by its conditions."""
    demands = (demand for one in policy.pools if one.name == pool for demand in one.admission.conditions)
    names = {*policy.priority.names(), *(name for demand in demands for name in demand.names)}
    names |= set(policy.rulebook.reads) if policy.rulebook else set()
    return [name for name in sorted(names) if name.startswith("lead.")]


def _waited_for(policy: Policy, rule: str) -> Sequence[str]:
    rules = policy.rulebook.rules if policy.rulebook else ()
    return [fact for one in rules if one.name == rule for fact in one.then.wait_for]


_STEPS = sa.text("""
    SELECT t.lead_id, t.at, t.what, t.policy_version, t.detail ->> 'rule' AS rule, t.detail ->> 'reason' AS reason
    FROM timeline t JOIN unnest(CAST(:leads AS bigint[])) AS l(id) ON l.id = t.lead_id
    WHERE t.at < :until AND (t.what IN ('updated', 'moved', 'ruled_again', 'rerouted', 'released', 'reprocessed')
       OR (t.what IN ('waiting', 'review', 'withdrawn') AND t.detail ? 'rule'))
    ORDER BY t.at, t.id
""")
_LOOKED_AT = sa.text("""
    SELECT d.lead_id, d.at, d.policy_version, d.pool, d.inputs
    FROM decisions d JOIN unnest(CAST(:leads AS bigint[])) AS l(id) ON l.id = d.lead_id
    WHERE d.at >= :since AND d.at < :until ORDER BY d.at
""")

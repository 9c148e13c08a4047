"""Who may have a lead besides room and turn: skills, certificates, conditions, working hours, service areas.

What does not hang on the lead is worked out for a whole roster at once and kept; the rest is asked of the members in
reach. Nothing here reads a clock: the moment is given.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from routing.admission import Certificate, Demand, OwnHours
from routing.course import Skill
from routing.decision import Gate
from routing.lead import Lead
from routing.near import Index, Reach
from routing.numbers import number_in
from routing.open_hours import open_until_or_from, week_of, zone_named
from routing.policy import Hours, Pool
from routing.service_area import Region, region_of

Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]
#: Masks kept for wishes that come again; who wishes for more different things than this is worked out anew.
KEPT = 1000


class Asks(Protocol):
    """A look of a lead at a pool: what is asked of the members there."""

    @property
    def lead(self) -> Lead: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def skills(self) -> tuple[Skill, ...]: ...


class Fit:
    """The members of one index, by what they are; made once for a version of the policy and of the roster."""

    def __init__(self, index: Index) -> None:
        self._columns = index.roster.columns
        self._market = index.roster.market
        self._rows = index.roster_rows
        self._capacity: NDArray[np.int32] | None = None
        self._skills: dict[tuple[str, object], Flags] = {}
        self._certified: dict[tuple[Certificate, str], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._hours: dict[int, tuple[OwnHours, Rows, list[Hours | None]]] = {}
        self._demands: dict[tuple[int, int], bool] = {}
        self._regions: dict[int, Region | None] = {}
        self._facts: dict[int, Mapping[str, object]] = {}

    def close(self, asked: Sequence[Asks], near: Reach, gates: NDArray[np.int8], now: datetime) -> None:
        """Shut the gates of those in reach who may not have the lead; who is out already stays out for that reason."""
        for number, one in enumerate(asked):
            if not one.skills and not one.pool.admission.asks:
                continue
            at = np.flatnonzero((near.lead == number) & (gates == Gate.ELIGIBLE))
            for gate, test in self._tests(one, now) if len(at) else ():
                passed = test(near.row[at])
                gates[at[~passed]] = gate
                at = at[passed]

    def word(self, one: Asks, row: int, gate: Gate, now: datetime) -> str:
        """Why this gate is shut for the member, with what it was decided by."""
        admission = one.pool.admission
        here = np.array([row], dtype=np.intp)
        if gate is Gate.SKILL:
            lacking = next(s for s in one.skills if not self._has(s)[row])
            return f"{lacking.name}: {_said(lacking.wanted)} is wanted, has {_said(self._attribute(row, lacking.name))}"
        if gate is Gate.CERTIFICATE:
            return next(
                self._ended(c, row) for c in admission.certificates if not self._holds(c, admission.zone, now, here)[0]
            )
        if gate is Gate.CONDITION:
            return next(d.name for d in admission.conditions if not self._met(d, one.lead, now, here)[0])
        if gate is Gate.HOURS and admission.hours is not None:
            hours = self._hours_of(admission.hours, row)
            if hours is not None:
                opens = open_until_or_from(hours, now)[1].astimezone(zone_named(hours.zone) or UTC)
                return f"not at work until {opens:%Y-%m-%d %H:%M} {hours.zone}"
        return "outside of its service area"

    def next_change(self, asked: Asks, rows: Rows, now: datetime) -> datetime | None:
        """When the first of these members, who are all that is left, comes to work."""
        own = asked.pool.admission.hours
        if own is None:
            return None
        found = (self._hours_of(own, row) for row in rows.tolist())
        return min((open_until_or_from(h, now)[1] for h in {id(h): h for h in found if h}.values()), default=None)

    def _tests(self, one: Asks, now: datetime) -> Iterator[tuple[Gate, Callable[[Rows], Flags]]]:
        admission = one.pool.admission
        for skill in one.skills:
            yield Gate.SKILL, self._has(skill).__getitem__
        for paper in admission.certificates:
            yield Gate.CERTIFICATE, partial(self._holds, paper, admission.zone, now)
        for demand in admission.conditions:
            yield Gate.CONDITION, partial(self._met, demand, one.lead, now)
        if admission.hours is not None:
            yield Gate.HOURS, partial(self._at_work, admission.hours, now)
        if admission.areas:
            yield Gate.AREA, partial(self._within, one.lead)

    # --- skills

    def _has(self, skill: Skill) -> Flags:
        wish = skill.name, skill.wanted.casefold() if isinstance(skill.wanted, str) else skill.wanted
        if wish not in self._skills:
            if len(self._skills) >= KEPT:
                self._skills.clear()
            values = (self._attribute(row, skill.name) for row in range(len(self._rows)))
            self._skills[wish] = np.fromiter((meets(v, skill.wanted) for v in values), np.bool_, len(self._rows))
        return self._skills[wish]

    # --- certificates

    def _holds(self, paper: Certificate, zone: str, now: datetime, rows: Rows) -> Flags:
        if (paper, zone) not in self._certified:
            spans = [self._span(paper, zone, row) for row in range(len(self._rows))]
            ends = np.array([end for _, end in spans], dtype=np.float64)
            self._certified[paper, zone] = np.array([begin for begin, _ in spans], dtype=np.float64), ends
        begins, ends = self._certified[paper, zone]
        at = now.timestamp()
        return (begins[rows] <= at) & (at < ends[rows])

    def _span(self, paper: Certificate, zone: str, row: int) -> tuple[float, float]:
        """From when to when it is good; a member without the paper has it never."""
        here = self._zone(row, zone)
        end = _moment(self._attribute(row, paper.until), here, days=1)
        begin = _moment(self._attribute(row, paper.since), here) if paper.since else -math.inf
        return (math.inf if begin is None else begin), (-math.inf if end is None else end)

    def _ended(self, paper: Certificate, row: int) -> str:
        until = self._attribute(row, paper.until)
        return f"{paper.name}: good until {_said(until)}" if until else f"{paper.name}: none"

    # --- conditions

    def _met(self, demand: Demand, lead: Lead, now: datetime, rows: Rows) -> Flags:
        of_members = all(name.startswith("member.") for name in demand.names)
        if not of_members:
            facts = {**lead.facts, "now": now}
            return np.fromiter((demand.met({**facts, **self.facts(row)}) for row in rows.tolist()), np.bool_, len(rows))
        met = np.zeros(len(rows), dtype=np.bool_)
        for at, row in enumerate(rows.tolist()):
            known = self._demands.get((id(demand), row))
            if known is None:
                known = self._demands[id(demand), row] = demand.met(self.facts(row))
            met[at] = known
        return met

    def facts(self, row: int) -> Mapping[str, object]:
        """What conditions may ask of a member."""
        if row not in self._facts:
            c, at = self._columns, int(self._rows[row])
            standard: dict[str, object] = {
                "member.key": c.key[at],
                "member.tier": c.tier[at],
                "member.market": self._market,
                "member.country": c.country[at] if c.country else "",
            }
            if c.capacity[at] >= 0:
                standard["member.capacity"] = int(c.capacity[at])
            self._facts[row] = {f"member.{name}": value for name, value in self._attributes(row).items()} | standard
        return self._facts[row]

    # --- hours

    def _at_work(self, own: OwnHours, now: datetime, rows: Rows) -> Flags:
        which, known = self._known_hours(own)
        at_work = np.array([one is None or open_until_or_from(one, now)[0] for one in known], dtype=np.bool_)
        return at_work[which[rows]]

    def _hours_of(self, own: OwnHours, row: int) -> Hours | None:
        which, known = self._known_hours(own)
        return known[int(which[row])]

    def _known_hours(self, own: OwnHours) -> tuple[Rows, list[Hours | None]]:
        """Of each member the number of its hours, and these; most members have the same."""
        if id(own) not in self._hours:
            numbers: dict[tuple[str, str], int] = {}
            known: list[Hours | None] = []
            which = np.zeros(len(self._rows), dtype=np.intp)
            for row in range(len(self._rows)):
                zone, value = self._zone(row, own.zone), self._attribute(row, "hours")
                key = zone, str(value)
                if key not in numbers:
                    days = week_of(value) or own.days
                    numbers[key] = len(known)
                    known.append(None if days is None else Hours(zone, days))
                which[row] = numbers[key]
            self._hours[id(own)] = own, which, known
        return self._hours[id(own)][1:]

    # --- service areas

    def _within(self, lead: Lead, rows: Rows) -> Flags:
        inside = np.ones(len(rows), dtype=np.bool_)
        for at, row in enumerate(rows.tolist()):
            if row not in self._regions:
                self._regions[row] = region_of(self._attributes(row))
            region = self._regions[row]
            inside[at] = region is None or region.holds(lead.place, str(lead.facts.get("lead.postal_code", "")))
        return inside

    # --- what is known of a member

    def _attributes(self, row: int) -> Mapping[str, object]:
        known = self._columns.attributes
        return known[int(self._rows[row])] if known else {}

    def _attribute(self, row: int, name: str) -> object:
        return self._attributes(row).get(name)

    def _zone(self, row: int, otherwise: str) -> str:
        own = self._attribute(row, "timezone")
        return own if isinstance(own, str) and zone_named(own) else otherwise


def meets(value: object, wanted: str | float | bool) -> bool:
    """Whether what a member has is what is wanted: a list holds it, a number is at least it, a text is equal to it."""
    if isinstance(wanted, bool):
        return _flag(value) is wanted
    if isinstance(wanted, int | float):
        have = number_in(value)
        return have is not None and have >= wanted
    return wanted.strip().casefold() in _texts(value)


def _flag(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().casefold() in {"true", "yes", "1"})


def _texts(value: object) -> set[str]:
    """A list's texts, small; a text with semicolons is several, as Salesforce writes what was chosen from a list."""
    parts = value.split(";") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return {str(part).strip().casefold() for part in parts if part is not None}


def _moment(value: object, zone: str, *, days: int = 0) -> float | None:
    """When a day begins in that zone, so many days later; a moment with a clock is itself. In seconds since 1970."""
    if not isinstance(value, str) or len(value.strip()) < len("2026-01-01"):
        return None
    text = value.strip()
    try:
        if len(text) > len("2026-01-01"):
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=zone_named(zone) or UTC)).timestamp()
        day = date.fromisoformat(text) + timedelta(days=days)
        return datetime.combine(day, time(), zone_named(zone) or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _said(value: object) -> str:
    """A value as a word of an explanation."""
    if value is None or value == "":
        return "nothing"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."

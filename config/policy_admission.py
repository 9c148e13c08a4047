"""What a pool asks of its members, how it asks for less by and by, and where leads go that nobody has room for."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from config.policy_parts import AT, STRICT, Duration, Name, Span, Zone, once, wrong
from config.policy_words import suggestion
from routing.admission import AS_EVER, Admission, Certificate, Demand, Overflow, OwnHours, Step, Then
from routing.conditions import Condition
from routing.errors import BadInput
from routing.vocabulary import Kind

Path = tuple[str | int, ...]
#: Compiles a condition over a lead and a member that stands at this path of the document.
Compile = Callable[[str, Path], Condition]
Where = Callable[[Sequence[str | int]], str]
Cel = Annotated[str, Field(max_length=4000)]
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MEMBER = "member."


class CertificatePart(BaseModel):
    """A paper that members must have, such as {name: nabcep, until: member.nabcep_until}."""

    model_config = STRICT
    name: Name
    until: str
    since: str | None = None

    def made(self, kinds: Mapping[str, Kind], where: Callable[[str], str]) -> Certificate:
        for name in ("until", "since"):
            fact = getattr(self, name)
            if fact is None:
                continue
            dates = [known for known, kind in kinds.items() if kind in {Kind.DATE, Kind.TIME}]
            if not fact.startswith(_MEMBER) or fact not in dates:
                known = [one for one in dates if one.startswith(_MEMBER)]
                raise BadInput(
                    f"{fact} is no date of members",
                    field=where(name),
                    fix=f"{suggestion(fact, known)} Dates are declared under attributes: {{member: {{NAME: date}}}}.",
                )
        return Certificate(self.name, self.until.removeprefix(_MEMBER), (self.since or "").removeprefix(_MEMBER))


class DemandPart(BaseModel):
    """What must hold of a member and a lead (when), or must not (unless)."""

    model_config = STRICT
    name: Name
    when: Cel | None = None
    unless: Cel | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.when is None and self.unless is None:
            raise wrong("it says neither when nor unless", "Add when: CONDITION, or unless: CONDITION.")
        return self

    def made(self, compiled: Compile, way: Path) -> Demand:
        when = None if self.when is None else compiled(self.when, (*way, "when"))
        unless = None if self.unless is None else compiled(self.unless, (*way, "unless"))
        return Demand(self.name, when, unless)


class WorkingHoursPart(BaseModel):
    """Hours of members who have no attribute `hours` of their own, in their own time zone; no day: they always work."""

    model_config = STRICT
    zone: Zone = "UTC"  # of members who have no attribute `timezone`
    mon: list[Span] = []
    tue: list[Span] = []
    wed: list[Span] = []
    thu: list[Span] = []
    fri: list[Span] = []
    sat: list[Span] = []
    sun: list[Span] = []

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        for name in _WEEKDAYS:
            spans = getattr(self, name)
            if any(before[1] > after[0] for before, after in pairwise(spans)):
                raise wrong(f"{name} has times that overlap or do not ascend", "Write each once, the earliest first.")
        return self

    def made(self) -> OwnHours:
        days = {number: tuple(getattr(self, name)) for number, name in enumerate(_WEEKDAYS)}
        return OwnHours(days if any(days.values()) else None, self.zone)


class RelaxPart(BaseModel):
    """What is given up once a lead was searched for so long in vain."""

    model_config = STRICT
    after: Duration
    drop: Literal["lowest"] | None = None  # the least important skill that is not required
    rings: Annotated[int, Field(ge=1, le=9)] | None = None  # so many rings more

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.drop is None) == (self.rings is None):
            raise wrong(
                "it must say either drop or rings", "Write {after: 2m, drop: lowest}, or {after: 10m, rings: 1}."
            )
        return self

    def made(self) -> Step:
        return Step(self.after, self.drop is not None, self.rings or 0)


class SpillPart(BaseModel):
    """Another pool, or a basket: {pool: NAME} or {hold: NAME}."""

    model_config = STRICT
    pool: Name | None = None
    hold: Name | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.pool is None) == (self.hold is None):
            raise wrong("it must say either pool or hold", "Write {pool: NAME}, or {hold: NAME}.")
        return self


Overflows = Literal["next_ring", "next_tier", "hold", "review", "wait"] | SpillPart


class PoolSections(BaseModel):
    """What of a pool this file reads."""

    model_config = STRICT

    certificates: Annotated[list[CertificatePart], Field(max_length=50)] = []
    conditions: Annotated[list[DemandPart], Field(max_length=50)] = []
    working_hours: WorkingHoursPart | None = None
    service_areas: bool = False
    relax: Annotated[list[RelaxPart], Field(max_length=20)] = []
    overflow: Overflows | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        once([one.name for one in self.certificates], "certificates has", "name", ("certificates", AT, "name"))
        once([one.name for one in self.conditions], "conditions has", "name", ("conditions", AT, "name"))
        if any(before.after > after.after for before, after in pairwise(self.relax)):
            raise wrong("relax does not ascend", "Write its steps by time, the first first.")
        return self

    def fits_rings(self, rings: int) -> None:
        """Refuse steps that would leave no ring for the beginning."""
        more = sum(step.rings or 0 for step in self.relax)
        if more >= rings:
            raise wrong(
                f"relax adds {more} of {rings} rings, so none is left to begin with",
                "A lead begins with the rings that relax does not add: add fewer.",
            )

    def admission(self, zone: str, kinds: Mapping[str, Kind], compiled: Compile, where: Where, way: Path) -> Admission:
        """What is asked of members. Raises BadInput with the place."""
        return Admission(
            tuple(
                paper.made(kinds, lambda name, at=at: where((*way, "certificates", at, name)))  # type: ignore[misc]
                for at, paper in enumerate(self.certificates)
            ),
            tuple(one.made(compiled, (*way, "conditions", at)) for at, one in enumerate(self.conditions)),
            self.working_hours.made() if self.working_hours else None,
            self.service_areas,
            self.working_hours.zone if self.working_hours else zone,
        )

    def steps(self) -> tuple[Step, ...]:
        """How it asks for less."""
        return tuple(step.made() for step in self.relax)

    def overflows(self) -> Overflow:
        """Where leads go that nobody has room for."""
        if self.overflow is None:
            return AS_EVER
        if isinstance(self.overflow, str):
            return Overflow(Then(self.overflow))
        if self.overflow.hold is not None:
            return Overflow(Then.HOLD, self.overflow.hold)
        return Overflow(Then.POOL, self.overflow.pool or "")


def check_overflows(pools: Mapping[str, PoolSections], where: Where, names: Sequence[str]) -> None:
    """Refuse an overflow into a pool that does not exist, or round in a circle. Raises BadInput with the place."""
    goes = {name: one.overflow.pool for name, one in pools.items() if isinstance(one.overflow, SpillPart)}
    for name, target in goes.items():
        place = where(("pools", names.index(name), "overflow", "pool"))
        if target is None:
            continue
        if target not in pools:
            raise BadInput(f"no pool is called {target}", field=place, fix=suggestion(target, names))
        seen, last = [name], goes.get(name)
        while last is not None and last not in seen:
            seen.append(last)
            last = goes.get(last)
        if last is not None:
            ring = " -> ".join([*seen, last])
            raise BadInput(f"leads would go round: {ring}", field=place, fix="Let one of them wait, hold or review.")

"""Which leads are ours, which go first, and how a named owner gets one: sections of the whole policy document."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from config.policy_admission import Cel, Compile, Where
from config.policy_parts import AT, STRICT, Duration, Name, once, wrong
from config.policy_words import suggestion
from routing.admission import GIVEN_AT_ONCE, Giving
from routing.entry import Entry, Reroute
from routing.errors import BadInput
from routing.priority import PLAIN, Ageing, Best, Points, Priority
from routing.vocabulary import Kind


class PointsPart(BaseModel):
    """Points where a condition holds ({when, points}), or for a number of the lead ({fact, times})."""

    model_config = STRICT
    name: Name
    when: Cel | None = None
    points: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | None = None
    fact: str | None = None
    times: Annotated[float, Field(ge=-1_000_000, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.when is None) != (self.points is None) or (self.fact is None) != (self.times is None):
            raise wrong(
                "half of it is missing", "Write {when: CONDITION, points: 10}, or {fact: lead.score, times: 1}."
            )
        if (self.when is None) == (self.fact is None):
            raise wrong("it must say either when or fact", "Write two entries for two things.")
        return self

    def made(self, kinds: Mapping[str, Kind], compiled: Compile, where: Where, at: int) -> Points:
        way = ("priority", "points", at)
        if self.fact is not None and kinds.get(self.fact) not in {Kind.NUMBER, Kind.WHOLE}:
            numbers = [name for name, kind in kinds.items() if kind in {Kind.NUMBER, Kind.WHOLE}]
            raise BadInput(
                f"{self.fact} is no number of leads", field=where((*way, "fact")), fix=suggestion(self.fact, numbers)
            )
        when = None if self.when is None else compiled(self.when, (*way, "when"))
        return Points(self.name, self.points or 0, when, self.fact or "", self.times or 0.0)


class AgeingPart(BaseModel):
    """How waiting counts: a point for each so long, and the longest anybody may wait because of others."""

    model_config = STRICT
    point_every: Duration
    longest_wait: Duration

    def made(self) -> Ageing:
        return Ageing(self.point_every, self.longest_wait)


class BestPart(BaseModel):
    """Which leads go to the best tiers first: from so much priority, or the best percent of the last ones."""

    model_config = STRICT
    at_least: float | None = None
    percent: Annotated[float, Field(gt=0, lt=100)] | None = None
    of_last: Annotated[int, Field(ge=10, le=10_000)] = 1000

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.at_least is None) == (self.percent is None):
            raise wrong("it must say either at_least or percent", "Write {at_least: 80}, or {percent: 10}.")
        return self

    def made(self) -> Best:
        return Best(self.at_least, self.percent, self.of_last)


class PriorityPart(BaseModel):
    """Which leads go first where there is not room for all."""

    model_config = STRICT
    points: Annotated[list[PointsPart], Field(max_length=100)] = []
    ageing: AgeingPart | None = None
    best: BestPart | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        once([one.name for one in self.points], "points has", "name", ("points", AT, "name"))
        return self


class EntryPart(BaseModel):
    """Which leads are ours: those of these queues (ids), or those of which the condition holds."""

    model_config = STRICT
    queues: Annotated[list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9]{15,18}$")]], Field(max_length=1000)] = []
    when: Cel | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.queues and self.when is None:
            raise wrong("no lead would be ours", "Name queues by their ids, or add when: CONDITION.")
        return self


class GivingPart(BaseModel):
    """How a lead is given to a member that a rule names."""

    model_config = STRICT
    accept: bool = True
    beyond_capacity: bool = True


class ReroutePart(BaseModel):
    """Which facts of a lead have it routed again when they change in Salesforce, and what becomes of an open offer."""

    model_config = STRICT
    facts: Annotated[list[str], Field(min_length=1, max_length=100)]
    open_offers: Literal["keep", "withdraw"] = "keep"

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        once(self.facts, "facts names", "fact", ("facts", AT))
        return self


#: Facts that are counted or found out here, or that we write ourselves; a change of address is one of its parts.
_NOT_TOLD = frozenset(
    f"lead.{name}"
    for name in ("owner", "precision", "received_at", "attempt", "moves", "age_hours", "latitude", "longitude")
)


class OrderSections(BaseModel):
    """The sections of the document that this file reads."""

    model_config = STRICT

    entry: EntryPart | None = None
    reroute_on: ReroutePart | None = None
    priority: PriorityPart | None = None
    giving: GivingPart | None = None

    def entrance(self, compiled: Compile) -> Entry | None:
        """Which leads are ours; None: all. Raises BadInput with the place."""
        if self.entry is None:
            return None
        when = None if self.entry.when is None else compiled(self.entry.when, ("entry", "when"))
        return Entry(frozenset(self.entry.queues), when)

    def reroutes(self, kinds: Mapping[str, Kind], where: Where) -> Reroute | None:
        """Which changes have a lead routed again; None: the policy does not say. Raises BadInput with the place."""
        part = self.reroute_on
        if part is None:
            return None
        known = [name for name in kinds if name.startswith("lead.") and name not in _NOT_TOLD]
        for at, fact in enumerate(part.facts):
            if fact not in known:
                what = f"{fact} is not changed in Salesforce" if fact in kinds else f"nothing is called {fact} here"
                raise BadInput(what, field=where(("reroute_on", "facts", at)), fix=suggestion(fact, known))
        return Reroute(frozenset(part.facts), part.open_offers == "withdraw")

    def priorities(self, kinds: Mapping[str, Kind], compiled: Compile, where: Where) -> Priority:
        """Which leads go first. Raises BadInput with the place."""
        part = self.priority
        if part is None:
            return PLAIN
        return Priority(
            tuple(one.made(kinds, compiled, where, at) for at, one in enumerate(part.points)),
            part.ageing.made() if part.ageing else None,
            part.best.made() if part.best else None,
        )

    def gives(self) -> Giving:
        """How named members are given leads."""
        return GIVEN_AT_ONCE if self.giving is None else Giving(self.giving.accept, self.giving.beyond_capacity)

"""The policy document: what people write in YAML, checked word by word, and made into routing's Policy."""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from config import policy_text
from config.policy_admission import Compile, PoolSections, check_overflows
from config.policy_limits import FairnessPart, Limits, check_limits, limits_of
from config.policy_parts import (
    AT,
    STRICT,
    Capacity,
    Country,
    Duration,
    Effects,
    Name,
    Percent,
    Radii,
    Span,
    TierName,
    Weight,
    Zone,
    once,
    wrong,
)
from config.policy_priority import OrderSections
from config.policy_rules import RuleSections, Where, no_contents
from config.policy_said import refuse
from config.policy_tables import Contents
from config.policy_text import Written
from config.policy_then import ByPart
from config.policy_turns import TurnsPart, Way
from routing import conditions
from routing.conditions import Condition
from routing.lead import Precision
from routing.limits import Of
from routing.policy import (
    METRES,
    REJECT_REASONS,
    RETURN_REASONS,
    SHOWN,
    Answering,
    Hours,
    Policy,
    Pool,
    PoorPlace,
    Rings,
    Rung,
    Scope,
    Tier,
    Tiers,
    TurnEffect,
)
from routing.vocabulary import Kind, Vocabulary

#: Nothing on earth is farther away than half its girth.
FARTHEST_M = 20_037_508.0
#: No deadline that counts working time lies farther ahead, holidays apart.
LONGEST_WEEKS = 52


_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class _Part(BaseModel):
    model_config = STRICT


class RingsPart(_Part):
    """Search radii, smallest first; a lead goes to the smallest ring with an eligible member, edges inclusive."""

    unit: Literal["mi", "km"]
    radii: Radii

    @model_validator(mode="after")
    def _on_earth(self) -> Self:
        if self.radii[-1] * METRES[self.unit] > FARTHEST_M:
            raise wrong(f"{self.radii[-1]:g} {self.unit} reaches around the earth", "Give at most 12450 mi, 20037 km.")
        return self

    def made(self) -> Rings:
        return Rings(self.unit, tuple(self.radii))


class CountryRingsPart(RingsPart):
    """Radii for some countries."""

    countries: Annotated[list[Country], Field(min_length=1)]


class HoursPart(_Part):
    """Working time of a week, such as {zone: America/New_York, mon: ["08:00-12:00", "13:00-17:00"]}."""

    zone: Zone
    mon: list[Span] = []
    tue: list[Span] = []
    wed: list[Span] = []
    thu: list[Span] = []
    fri: list[Span] = []
    sat: list[Span] = []
    sun: list[Span] = []
    holidays: list[Annotated[date, Field(strict=False)]] = []

    @model_validator(mode="after")
    def _some(self) -> Self:
        for name in _WEEKDAYS:
            spans = getattr(self, name)
            if any(before[1] > after[0] for before, after in pairwise(spans)):
                raise wrong(f"{name} has times that overlap or do not ascend", "Write each once, the earliest first.")
        if not any(getattr(self, name) for name in _WEEKDAYS):
            raise wrong("no day has working time", 'Give at least one, such as mon: ["08:00-17:00"].')
        return self

    def made(self) -> Hours:
        days = {number: tuple(getattr(self, name)) for number, name in enumerate(_WEEKDAYS)}
        return Hours(self.zone, days, frozenset(self.holidays))


class RungPart(_Part):
    """Where an attempt looks: only these tiers, so many of the rings."""

    tiers: list[TierName] = []
    rings: Annotated[int, Field(ge=1, le=10)] | None = None

    def made(self) -> Rung:
        return Rung(frozenset(self.tiers), self.rings)


class AnswersPart(_Part):
    """How offers are answered, and what follows when they are not."""

    hot_within: Duration | None = None
    hours: HoursPart | None = None
    reminders: Annotated[list[Percent], Field(max_length=5)] = [50, 80]
    expiry_counts: bool = True
    reject_reasons: Effects = dict(REJECT_REASONS)
    expired_turn: Annotated[TurnEffect, Field(strict=False)] = TurnEffect.CONSUME
    rejects_a_day: Annotated[int, Field(ge=0, le=100_000)] | None = None
    fan_out: Annotated[int, Field(ge=1, le=10)] = 1
    ladder: Annotated[list[RungPart], Field(max_length=20)] = []
    again_when_exhausted: bool = False
    second_chance: bool = False
    open_for: Duration | None = None
    work_within: Duration | None = None
    work_warning: Percent = 80
    extensions: Annotated[int, Field(ge=0, le=100)] = 1
    extend_reasons: Annotated[list[Name], Field(min_length=1, max_length=50)] = list(Answering().extend_reasons)
    lost_reasons: Annotated[list[Name], Field(min_length=1, max_length=50)] = list(Answering().lost_reasons)
    return_within: Duration = timedelta(hours=72)
    return_reasons: Effects = dict(RETURN_REASONS)
    returns_percent: Annotated[int, Field(ge=0, le=100)] = 10
    shown: list[Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,39}$")]] = list(SHOWN)

    @model_validator(mode="after")
    def _end_some_day(self) -> Self:
        """Working time passes slowly where there is little of it."""
        for name in ("hot_within", "work_within"):
            _passes(getattr(self, name), self.hours, name)
        return self

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if any(early >= late for early, late in pairwise(self.reminders)):
            raise wrong(f"{self.reminders} does not ascend", "Write each percentage once, the smallest first.")
        return self

    def made(self, *, within: timedelta, reassignments: int) -> Answering:
        return Answering(
            within=within,
            reassignments=reassignments,
            hot_within=self.hot_within,
            hours=self.hours.made() if self.hours else None,
            reminders=tuple(self.reminders),
            expiry_counts=self.expiry_counts,
            reject_reasons=self.reject_reasons,
            expired_turn=self.expired_turn,
            rejects_a_day=self.rejects_a_day,
            fan_out=self.fan_out,
            ladder=tuple(rung.made() for rung in self.ladder),
            again_when_exhausted=self.again_when_exhausted,
            second_chance=self.second_chance,
            open_for=self.open_for,
            work_within=self.work_within,
            work_warning=self.work_warning,
            extensions=self.extensions,
            extend_reasons=tuple(self.extend_reasons),
            lost_reasons=tuple(self.lost_reasons),
            return_within=self.return_within,
            return_reasons=self.return_reasons,
            returns_percent=self.returns_percent,
            shown=tuple(self.shown),
        )


def _passes(length: timedelta | None, hours: HoursPart | None, name: str) -> None:
    if length is None or hours is None:
        return
    week = timedelta(minutes=sum(end - start for day in _WEEKDAYS for start, end in getattr(hours, day)))
    if length > week * LONGEST_WEEKS:
        raise wrong(
            f"{name} is working time, of which a week has {week}: it would end in more than {LONGEST_WEEKS} weeks",
            "Give less, or longer hours.",
        )


class PoolPart(PoolSections, _Part):
    """Who takes turns for one kind of lead."""

    name: Name
    market: Name
    countries: list[Country] = []  # empty: every country no other pool names
    rings: RingsPart
    rings_by_country: list[CountryRingsPart] = []
    mode: Annotated[Way, Field(strict=False)] = Way.FAIR
    turns: TurnsPart = TurnsPart()
    tiers: Annotated[Tiers, Field(strict=False)] = Tiers.BLENDED
    scope: Annotated[Scope, Field(strict=False)] = Scope.POOL
    rotation: Name | None = None  # the shared rotation's name, with scope: shared
    reassignments: Annotated[int, Field(ge=0, le=100)] = 3
    answer_within: Duration = timedelta(hours=4)
    answers: AnswersPart = AnswersPart()
    poor_places: dict[
        Literal["street", "postal", "city", "region", "country"],
        Annotated[PoorPlace, Field(strict=False)],
    ] = {}
    limits: Limits = []
    fairness: FairnessPart = FairnessPart()

    @model_validator(mode="after")
    def _rotation_fits(self) -> Self:
        if self.scope is Scope.SHARED and not self.rotation:
            raise wrong("scope is shared, and no rotation is named", "Add rotation: NAME, the same in each such pool.")
        if self.scope is not Scope.SHARED and self.rotation:
            raise wrong("a rotation is named, and scope is not shared", "Write scope: shared, or take rotation out.")
        once([c for part in self.rings_by_country for c in part.countries], "rings_by_country names", "country")
        _passes(self.answer_within, self.answers.hours, "answer_within")
        self.turns.fits(self.mode)
        self.fairness.fits(self.mode.mode)
        check_limits(self.limits, of=tuple(Of), share=True)
        self.fits_rings(min(len(part.radii) for part in (self.rings, *self.rings_by_country)))
        return self

    def made(self, kinds: Mapping[str, Kind], compiled: Compile, where: Where, at: int) -> Pool:
        zone = self.answers.hours.zone if self.answers.hours else "UTC"
        return Pool(
            name=self.name,
            market=self.market,
            countries=frozenset(self.countries),
            rings=self.rings.made(),
            rings_by_country={c: part.made() for part in self.rings_by_country for c in part.countries},
            mode=self.mode.mode,
            tiers=self.tiers,
            scope=self.scope,
            rotation=self.rotation or "",
            answering=self.answers.made(within=self.answer_within, reassignments=self.reassignments),
            poor_places={Precision(name): way for name, way in self.poor_places.items()},
            turns=self.turns.made(self.mode, self.rings.unit, self.rings.radii[0]),
            admission=self.admission(zone, kinds, compiled, where, ("pools", at)),
            relax=self.steps(),
            overflow=self.overflows(),
            limits=limits_of(self.limits),
            cost=self.fairness.made(kinds, where, at),
        )


class DefaultTierPart(_Part):
    """What holds for members of a tier that the policy does not name."""

    weight: Weight = 1
    capacity: Capacity
    limits: Limits = []

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        check_limits(self.limits, of=(Of.MEMBER,))
        return self

    def made(self, name: str, rank: int) -> Tier:
        limits = limits_of(self.limits)
        return Tier(name=name, rank=rank, capacity=self.capacity, weight=round(self.weight * 1000), limits=limits)


class TierPart(DefaultTierPart):
    """A layer of the partner hierarchy; the first of the list is the best."""

    name: TierName


class Document(RuleSections, OrderSections, _Part):
    """A policy as people write it."""

    sensitive: bool = False  # two people publish it, and whatever takes its place
    pools: Annotated[list[PoolPart], Field(min_length=1)]
    tiers: list[TierPart] = []
    default_tier: DefaultTierPart
    limits: Limits = []

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        once([pool.name for pool in self.pools], "pools has", "name", ("pools", AT, "name"))
        once([tier.name.casefold() for tier in self.tiers], "tiers has", "name", ("tiers", AT, "name"))
        check_limits(self.limits, of=(Of.MEMBER, Of.NETWORK))
        once([c for pool in self.pools for c in pool.countries], "pools name", "country", ("pools",))
        by_country = self.default is None or isinstance(self.default.pool, ByPart)
        if by_country and sum(not pool.countries for pool in self.pools) > 1:
            raise wrong("two pools take every country", "Name the countries of each pool but one.", ("pools",))
        shared: dict[tuple[str, str], PoolPart] = {}
        for pool in (pool for pool in self.pools if pool.rotation):
            first = shared.setdefault((pool.market, pool.rotation or ""), pool)
            if (first.turns.reset, first.turns.zone) != (pool.turns.reset, pool.turns.zone):
                raise wrong(
                    f"the pools {first.name} and {pool.name} share a rotation, and begin it anew at different times",
                    "Write the same reset and zone in the turns of both.",
                )
        known = {tier.name for tier in self.tiers}
        asked = [tier for pool in self.pools for rung in pool.answers.ladder for tier in rung.tiers]
        if unknown := [tier for tier in asked if tier not in known]:
            raise wrong(f"a ladder asks the tier {unknown[0]!r}, which tiers does not name", "Name it there as well.")
        return self

    def made(self, version: int, contents: Contents, where: Where) -> Policy:
        tiers = {part.name: part.made(part.name, rank) for rank, part in enumerate(self.tiers, start=1)}
        default = self.default_tier.made("", len(tiers) + 1)
        both = self.of_leads_and_members
        of_both, of_leads = partial(_compiled, both, where), partial(_compiled, self.of_leads, where)
        pools = tuple(pool.made(both.kinds, of_both, where, at) for at, pool in enumerate(self.pools))
        names = [pool.name for pool in self.pools]
        check_overflows(dict(zip(names, self.pools, strict=True)), where, names)
        return Policy(
            version=version,
            pools=pools,
            tiers=tiers,
            default_tier=default,
            rulebook=self.rulebook(self.surroundings(contents, where), pools, where),
            priority=self.priorities(self.of_leads.kinds, of_leads, where),
            entry=self.entrance(of_leads),
            giving=self.gives(),
            reroute=self.reroutes(self.of_leads.kinds, where),
            limits=limits_of(self.limits),
        )


def _compiled(vocabulary: Vocabulary, where: Where, source: str, way: tuple[str | int, ...]) -> Condition:
    return conditions.compile(source, vocabulary, where=lambda: where(way))


def parse(document: Mapping[str, Any], version: int, *, contents: Contents = no_contents) -> Policy:
    """The policy a document states. Raises BadInput naming the first wrong field by its path, and the fix.

    `contents` gives the bytes of a table or an area by their digest. Of a document that was read from a text, the field
    says line and column as well.
    """
    policy_text.sound(document)
    try:
        return Document.model_validate(document).made(version, contents, partial(policy_text.where, document=document))
    except ValidationError as exc:
        refuse(exc, document, json_schema)


def json_schema() -> dict[str, Any]:
    """The document's JSON Schema, for editors and the API."""
    return Document.model_json_schema()


def schema_text() -> str:
    """The same as it stands in docs/policy.schema.json."""
    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Fairturn policy"}
    return json.dumps(json_schema() | told, indent=1, ensure_ascii=False) + "\n"


def default_document() -> Written:
    """The policy that ships with Fairturn."""
    return policy_text.read((files("config") / "policy.yaml").read_text("utf-8"), "config/policy.yaml")


def dump(document: Mapping[str, Any]) -> str:
    """The document as YAML, as a person would edit it."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)


def load_file(path: Path) -> Written:
    """The document in a YAML file, not yet checked. Raises BadInput when there is none."""
    return policy_text.load(path)

"""The sections `limits` and `fairness`: how many leads somebody gets in a window of time, and what a lead costs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from config.policy_admission import Where
from config.policy_parts import STRICT, Duration, Name, Zone, once, wrong
from config.policy_words import suggestion
from routing.errors import BadInput
from routing.limits import PLENTY, Limit, Of, Per, Window, span
from routing.policy import ONE_TURN, Cost, Mode, Unit
from routing.vocabulary import Kind

SHORTEST, LONGEST = timedelta(hours=1), timedelta(days=366)
_LENGTH = {Per.HOUR: 1, Per.DAY: 2, Per.WEEK: 3, Per.MONTH: 4}
#: What a share is of at least, when the policy does not say.
FROM = 20
_WINDOWS = "hour, day, week or month, or a length that rolls, such as 24h or 30d"


def _least(share: int) -> int:
    """The fewest leads of which so many percent are one."""
    return -(-100 // share)


def _window(value: object) -> object:
    """A calendar window by its word; a length of time is left to be read as one."""
    if isinstance(value, str) and value in set(Per):
        return Per(value)
    if isinstance(value, str) and value[:1].isdigit():
        return value
    raise wrong(f"{value!r} is no window of time", f"Write {_WINDOWS}.")


Most = Annotated[int, Field(ge=0, lt=PLENTY)]
Part = Annotated[int, Field(ge=1, le=100)]
Windows = Annotated[
    Per | Duration,
    BeforeValidator(_window),
    WithJsonSchema({"type": "string", "pattern": r"^(hour|day|week|month|(\d+[smhd])+)$"}),
]


class PacePart(BaseModel):
    """No more than so many percent of a limit in a shorter window."""

    model_config = STRICT
    hour: Part | None = None
    day: Part | None = None
    week: Part | None = None

    def made(self) -> tuple[tuple[Per, int], ...]:
        return tuple((per, part) for per in Per if (part := getattr(self, per, None)) is not None)


class LimitPart(BaseModel):
    """At most so many units in a window; or of what the pool gives in a window, at most so many percent."""

    model_config = STRICT
    name: Name | None = None
    of: Annotated[Of, Field(strict=False)] = Of.MEMBER
    per: Windows
    most: Most | None = None
    share: Annotated[int, Field(ge=1, le=99)] | None = None
    floor: Annotated[int | None, Field(ge=0, le=1_000_000, alias="from")] = None
    counts: Literal["offers", "kept"] = "offers"
    zone: Zone | None = None
    pace: PacePart | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.most is None) == (self.share is None):
            raise wrong("it must say either most or share", "Write most: 3, or share: 20 for percent of the pool.")
        if isinstance(self.per, timedelta) and not SHORTEST <= self.per <= LONGEST:
            raise wrong(f"a window of {span(self.per)} is out of range", "Give from 1h to 366d.")
        if self.share is not None and (self.of is Of.POOL or self.pace is not None):
            raise wrong("a share is of a member or a network, and has no pace", "Take of: pool or pace out.")
        if self.share is None and self.floor is not None:
            raise wrong("from belongs to a share", "Take it out, or write share instead of most.")
        if self.share and self.floor is not None and self.floor < _least(self.share):
            raise wrong(
                f"{self.share} % of {self.floor} leads is less than one: nobody would get the first",
                f"Write from: {_least(self.share)} or more, or take it out.",
            )
        for per, _ in self.pace.made() if self.pace else ():
            if not isinstance(self.per, Per) or _LENGTH[per] >= _LENGTH[self.per]:
                raise wrong(
                    f"pace has a {per}, which is not shorter than {self.words}", f"Write per: month, or no {per}."
                )
        return self

    @property
    def words(self) -> str:
        return str(self.per) if isinstance(self.per, Per) else span(self.per)

    @property
    def called(self) -> str:
        """Its name; else what it is of, and in which window."""
        return self.name or f"{'share' if self.share else self.of}-{self.words}"

    def made(self) -> Limit:
        window: Window = self.per
        return Limit(
            name=self.called,
            of=self.of,
            per=window,
            most=PLENTY if self.most is None else self.most,
            kept=self.counts == "kept",
            zone=self.zone or "",
            pace=self.pace.made() if self.pace else (),
            percent=self.share or 0,
            floor=max(FROM, _least(self.share)) if self.share and self.floor is None else self.floor or 0,
        )


Limits = Annotated[list[LimitPart], Field(max_length=20)]


def limits_of(parts: Sequence[LimitPart]) -> tuple[Limit, ...]:
    """What a section says."""
    return tuple(part.made() for part in parts)


def check_limits(parts: Sequence[LimitPart], *, of: Sequence[Of], share: bool = False) -> None:
    """Refuse names that are given twice, and limits that mean nothing in this place."""
    once([part.called for part in parts], "limits has", "name")
    for part in parts:
        if part.of not in of:
            raise wrong(f"a limit of a {part.of} has no meaning here", f"Write of: {' or '.join(of)}.")
        if part.share is not None and not share:
            raise wrong("a share is of what one pool gives", "Write it into the limits of that pool.")


class FairnessPart(BaseModel):
    """What turns are counted in: leads, units of capacity, or what a lead is worth."""

    model_config = STRICT
    unit: Annotated[Unit, Field(strict=False)] = Unit.COUNT
    value: str | None = None
    worth: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    most: Annotated[int, Field(ge=1, le=100)] = 100

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.unit is Unit.VALUE) != (self.value is not None and self.worth is not None):
            raise wrong(
                "unit: value goes with value and worth, and nothing else does",
                "Write {unit: value, value: lead.amount, worth: 10000}: a lead of 10000 costs one turn.",
            )
        return self

    def fits(self, mode: Mode) -> None:
        """Refuse a unit of turns where nobody's account is kept."""
        if self.unit is not Unit.COUNT and mode is not Mode.FAIR:
            raise wrong(
                f"fairness counts turns in {self.unit}, and mode {mode} keeps no accounts",
                "Write mode: fair, or take fairness out.",
            )

    def made(self, kinds: Mapping[str, Kind], where: Where, at: int) -> Cost:
        if self.value is not None and kinds.get(self.value) not in {Kind.NUMBER, Kind.WHOLE}:
            numbers = [name for name, kind in kinds.items() if kind in {Kind.NUMBER, Kind.WHOLE}]
            raise BadInput(
                f"{self.value} is no number of leads",
                field=where(("pools", at, "fairness", "value")),
                fix=suggestion(self.value, numbers),
            )
        if self.unit is Unit.COUNT:
            return ONE_TURN
        return Cost(self.unit, self.value or "", self.worth or 1.0, self.most)

"""The section `turns` of a pool: from when turns count, what a member weighs, what an absence is worth."""

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from config.policy_parts import STRICT, Duration, Weight, Zone, wrong
from routing.policy import METRES, Mode
from routing.rotation import Absence, ByHand, Minimum, Ramp, Reset, Turning

#: Rolling windows move by the hour: a shorter one would hardly ever hold a turn.
SHORTEST, LONGEST = timedelta(days=1), timedelta(days=366)


class _Part(BaseModel):
    model_config = STRICT


class RampPart(_Part):
    """Up to so many days after a member joined it has this part of its weight."""

    days: Annotated[int, Field(ge=1, le=3650)]
    percent: Annotated[int, Field(ge=1, le=100)]


class RollingPart(_Part):
    """Turns count for so long."""

    rolling: Duration

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not SHORTEST <= self.rolling <= LONGEST:
            raise wrong(f"a window of {self.rolling} is out of range", "Give from 1d to 366d, such as 30d.")
        return self


class CatchUpPart(_Part):
    """So many percent a day of what an absence is worth."""

    catch_up: Annotated[int, Field(ge=1, le=100)]


def _one_of(words: tuple[object, ...], part: type[BaseModel] | None = None, shape: str = "") -> BeforeValidator:
    """Take one of these words, or a section; refused at the place where it stands."""

    def read(value: object) -> object:
        if part is not None and isinstance(value, (dict, part)):
            return part.model_validate(value)
        if any(value is word or (isinstance(word, str) and value == word) for word in words):
            return value
        known = ", ".join(str(word).lower() for word in words)
        raise wrong(f"{value!r} is not known here", f"Write one of {known}{shape}.")

    return BeforeValidator(read)


_RESETS = ("never", "daily", "weekly", "monthly")
ResetWord = Annotated[
    Literal["never", "daily", "weekly", "monthly"] | RollingPart, _one_of(_RESETS, RollingPart, ", or {rolling: 30d}")
]
AbsenceWord = Annotated[
    Literal["none", "full"] | CatchUpPart, _one_of(("none", "full"), CatchUpPart, ", or {catch_up: 10}")
]
ByHandWord = Annotated[bool | Literal["moved"], _one_of((True, False, "moved"))]


def _bounded(boost: float) -> float:
    if boost < 1:
        raise wrong(f"{boost} would give less", "Give from 1 to 4, such as 1.5.")
    return boost


class MinimumPart(_Part):
    """Leads that every member of the pool is to get in a week or a month."""

    leads: Annotated[int, Field(ge=1, le=100_000)]
    per: Literal["week", "month"] = "month"
    boost: Annotated[Weight, Field(le=4), AfterValidator(_bounded)] = 1.5

    def made(self) -> Minimum:
        per = Reset.WEEKLY if self.per == "week" else Reset.MONTHLY
        return Minimum(self.leads, per, round(self.boost * 1000))


class Way(StrEnum):
    """Modes as the policy names them: the turnstile's own, and fair with weights that fall with the distance."""

    FAIR = "fair"
    CURSOR = "cursor"
    LEAST_RECENT = "least_recent"
    LEAST_LOADED = "least_loaded"
    NEAREST = "nearest"
    WEIGHTED_BY_DISTANCE = "weighted_by_distance"

    @property
    def mode(self) -> Mode:
        """How the turnstile chooses."""
        return Mode.FAIR if self is Way.WEIGHTED_BY_DISTANCE else Mode(str(self))


class TurnsPart(_Part):
    """How the turns of a pool are kept."""

    reset: ResetWord = "never"
    zone: Zone = "UTC"
    halves_at: Annotated[float, Field(gt=0, le=20_000)] | None = None
    ramp: Annotated[list[RampPart], Field(max_length=10)] = []
    absence: AbsenceWord = "none"
    by_hand_counts: ByHandWord = "moved"
    minimum: MinimumPart | None = None

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if any(one.days >= later.days for one, later in pairwise(self.ramp)):
            raise wrong("the days of ramp do not ascend", "Write the shortest time first.")
        return self

    def fits(self, way: Way) -> None:
        """Refuse what has no meaning in this mode."""
        if self.halves_at is not None and way is not Way.WEIGHTED_BY_DISTANCE:
            raise wrong(
                "halves_at is of mode weighted_by_distance", f"Take it out, or write mode: {Way.WEIGHTED_BY_DISTANCE}."
            )
        asked = {
            "ramp": self.ramp,
            "minimum": self.minimum,
            "absence": self.absence != "none",
            "a rolling reset": isinstance(self.reset, RollingPart),
            "by_hand_counts": "by_hand_counts" in self.model_fields_set and self.by_hand_counts is not False,
        }
        if way.mode is not Mode.FAIR and (named := next((n for n, given in asked.items() if given), "")):
            raise wrong(f"{named} moves accounts, and mode {way} keeps none", "Write mode: fair, or take it out.")

    def made(self, way: Way, unit: str, first_ring: float) -> Turning:
        """What the section says of a pool of this mode, whose rings are in this unit."""
        rolling = self.reset if isinstance(self.reset, RollingPart) else None
        catch_up = self.absence if isinstance(self.absence, CatchUpPart) else None
        by_hand = {True: ByHand.ALL, False: ByHand.NONE, "moved": ByHand.MOVED}
        return Turning(
            reset=Reset.ROLLING if rolling else Reset(str(self.reset)),
            window=rolling.rolling if rolling else timedelta(0),
            zone=self.zone,
            halves_at_m=(self.halves_at or first_ring) * METRES[unit] if way is Way.WEIGHTED_BY_DISTANCE else None,
            ramp=tuple(Ramp(one.days, one.percent) for one in self.ramp),
            absence=Absence.CATCH_UP if catch_up else Absence(str(self.absence)),
            percent_a_day=catch_up.catch_up if catch_up else 100,
            by_hand=by_hand[self.by_hand_counts],
            minimum=self.minimum.made() if self.minimum else None,
        )

"""What a rule says: where its leads go, and what is set on them; written down, or looked up for each lead."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from config.policy_parts import AT, STRICT, Duration, Name, once, wrong
from config.policy_tables import Word
from routing.course import Way
from routing.rules import MICRO, MOST_PRIORITY, MOST_TURN, MOST_UNITS, From, Then, Wanted

_WAYS = tuple(way.value for way in Way)
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]


class FactPart(BaseModel):
    """A value that is taken from a fact of the lead, such as {fact: lead.account_owner}."""

    model_config = STRICT
    fact: str

    def made(self) -> From:
        return From(self.fact)


class CellPart(BaseModel):
    """A value that is looked up in a table, such as {table: territory, column: pool}."""

    model_config = STRICT
    table: str
    column: str

    def made(self) -> From:
        return From(f"{self.table}.{self.column}")


class ByPart(BaseModel):
    """The pool that names the lead's country."""

    model_config = STRICT
    by: Literal["country"]


class WaitPart(BaseModel):
    """Which facts are waited for, and how long at most."""

    model_config = STRICT
    facts: Annotated[list[str], Field(min_length=1, max_length=20)]
    up_to: Duration


def _which(value: object) -> str:
    """Which of the ways to say a value this is, so that errors speak of that one alone."""
    if isinstance(value, Mapping):
        return "[cell]" if "table" in value or "column" in value else "[by]" if "by" in value else "[fact]"
    return _TAGS.get(type(value), "[value]")


_TAGS: Mapping[type, str] = {FactPart: "[fact]", CellPart: "[cell]", ByPart: "[by]"}
_Fact: TypeAlias = Annotated[FactPart, Tag("[fact]")]
_Cell: TypeAlias = Annotated[CellPart, Tag("[cell]")]
_By: TypeAlias = Annotated[ByPart, Tag("[by]")]
_ONE = Discriminator(_which)
LookedUp = FactPart | CellPart
Whole = Annotated[int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY)]
Units = Annotated[int, Field(ge=1, le=MOST_UNITS)]
Turns = Annotated[float, Field(gt=0, le=MOST_TURN / MICRO)]


class SkillPart(BaseModel):
    """What a member must have for the lead; after a while of searching it may be dropped."""

    model_config = STRICT
    name: Word
    wanted: Annotated[Annotated[str | int | float | bool, Tag("[value]")] | _Fact | _Cell, _ONE]
    drop_after: Duration | None = None
    required: bool = True  # false: the pool drops it as it relaxes


class ThenPart(BaseModel):
    """What a rule says: where the lead goes, and what is set on it."""

    model_config = STRICT

    pool: Annotated[Annotated[Name | None, Tag("[value]")] | _Fact | _Cell | _By, _ONE] = None
    owner: Annotated[Annotated[Text | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    hold: Annotated[Annotated[Name | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    wait: WaitPart | None = None
    quarantine: Text | Literal[True] | None = None
    review: Text | Literal[True] | None = None
    ignore: Text | Literal[True] | None = None
    priority: Annotated[Annotated[Whole | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    hot: Annotated[Annotated[bool | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    skills: Annotated[list[SkillPart], Field(max_length=20)] = []
    preferred: Annotated[Annotated[Text | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    preferred_for: Duration | None = None
    best_first: bool | None = None
    units: Annotated[Annotated[Units | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    turn: Annotated[Annotated[Turns | None, Tag("[value]")] | _Fact | _Cell, _ONE] = None
    continue_: Annotated[bool | None, Field(alias="continue")] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = self.ways
        if len(ways) > 1:
            raise wrong(f"it says both {ways[0]} and {ways[1]}", "A lead goes one way: keep one of them.")
        once([skill.name for skill in self.skills], "skills has", "name", ("skills", AT, "name"))
        if self.preferred_for is not None and self.preferred is None:
            raise wrong("preferred_for without preferred", "Say who is preferred, or take it out.")
        return self

    @property
    def ways(self) -> list[str]:
        """The words that send the lead somewhere."""
        return [way for way in _WAYS if getattr(self, way) is not None]

    @property
    def is_empty(self) -> bool:
        return not (self.model_fields_set - {"continue_"})

    def made(self) -> Then:
        way = next(iter(self.ways), None)
        said = getattr(self, way) if way else None
        return Then(
            way=Way(way) if way else None,
            target="" if said is True or isinstance(said, ByPart | WaitPart) else _made(said) or "",
            by_country=isinstance(said, ByPart),
            wait_for=tuple(self.wait.facts) if self.wait else (),
            wait_up_to=self.wait.up_to if self.wait else None,
            priority=_made(self.priority),
            hot=_made(self.hot),
            skills=tuple(Wanted(s.name, _made(s.wanted), s.drop_after, s.required) for s in self.skills),
            preferred=_made(self.preferred) or "",
            preferred_for=self.preferred_for,
            best_first=self.best_first,
            units=_made(self.units),
            turn=_made(self.turn),
            goes_on=self.continue_,
        )


def _made(said: Any) -> Any:
    return said.made() if isinstance(said, FactPart | CellPart) else said

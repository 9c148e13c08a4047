"""The part of the policy document that says who is asked at all: attributes, tables, areas, rules and their default."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from config.policy_areas import AreaPart, areas_of
from config.policy_parts import AT, STRICT, Name, once, wrong
from config.policy_tables import AnyKind, Cell, Contents, TablePart, Word
from config.policy_then import CellPart, FactPart, LookedUp, SkillPart, Text, ThenPart
from config.policy_words import suggestion
from routing import conditions
from routing.conditions import Condition
from routing.course import Way
from routing.errors import BadInput
from routing.look import Surroundings
from routing.policy import Pool
from routing.rules import Rule, Rulebook
from routing.tables import Table
from routing.vocabulary import OF_MEMBERS, STANDARD, Kind, Vocabulary

#: Where a part of the document stands, for errors: its path, with line and column where they are known.
Where = Callable[[Sequence[str | int]], str]
MOST_RULES = 50_000
#: What cannot stand after a dot in a condition (the words that CEL keeps to itself), or means something here.
_RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    )
)  # fmt: skip
_OURS = frozenset({"lead", "member", "now", "area", "has", "pool", "account"})
_NUMBERS, _TEXTS, _FLAGS = (Kind.NUMBER, Kind.WHOLE), (Kind.TEXT,), (Kind.FLAG,)


class ExpectPart(BaseModel):
    """What an example expects of its lead: whether its rule is the one that decides, or where the lead goes."""

    model_config = STRICT
    match: bool | None = None
    pool: Name | None = None
    owner: Text | None = None
    hold: Name | None = None
    way: Annotated[Way, Field(strict=False)] | None = None
    priority: int | None = None


class ExamplePart(BaseModel):
    """A lead that shows what a rule is for; tried by every check and before every publication."""

    model_config = STRICT
    lead: dict[Word, Cell | list[str]]
    now: Text | None = None  # such as 2026-03-01T08:00:00Z; else the moment of the check
    expect: ExpectPart = ExpectPart(match=True)


class RulePart(BaseModel):
    """One rule: its name, its condition, and what it says."""

    model_config = STRICT

    name: Name
    when: Annotated[str, Field(max_length=4000)] | Literal[True] = True
    then: ThenPart
    examples: Annotated[list[ExamplePart], Field(max_length=50)] = []

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name == "default":
            raise wrong("a rule is named default", "Name it otherwise: default is what holds when no rule decides.")
        if self.then.is_empty:
            raise wrong("the rule says nothing", "Say where its leads go, such as then: {pool: installers}.")
        return self


Attributes = Annotated[dict[Word, AnyKind], Field(max_length=500)]


class AttributesPart(BaseModel):
    """The facts of your own that conditions may ask, and their kinds."""

    model_config = STRICT

    lead: Attributes = {}
    member: Attributes = {}

    @model_validator(mode="after")
    def _of_your_own(self) -> Self:
        for name, standard in chain(
            ((f"lead.{name}", STANDARD) for name in self.lead), ((f"member.{name}", OF_MEMBERS) for name in self.member)
        ):
            if name.partition(".")[2] in _RESERVED:
                raise wrong(f"{name} cannot be written in a condition", "Name it otherwise: CEL keeps this word.")
            if name in standard:
                raise wrong(f"{name} is there by itself", "Take it out.")
        return self

    @property
    def of_leads(self) -> Mapping[str, Kind]:
        return {f"lead.{name}": kind for name, kind in self.lead.items()}

    @property
    def of_members(self) -> Mapping[str, Kind]:
        return {f"member.{name}": kind for name, kind in self.member.items()}


class RuleSections(BaseModel):
    """The sections of the document that this file reads; the document is made of them and of others."""

    model_config = STRICT

    attributes: AttributesPart = AttributesPart()
    tables: Annotated[dict[Word, TablePart], Field(max_length=100)] = {}
    areas: Annotated[dict[Word, AreaPart], Field(max_length=5000)] = {}
    rules: Annotated[list[RulePart], Field(max_length=MOST_RULES)] = []
    default: ThenPart | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        once([rule.name for rule in self.rules], "rules has", "name", ("rules", AT, "name"))
        if self.rules and self.default is None:
            raise wrong(
                "there are rules and no default",
                "Add default: {pool: NAME}, for leads that no rule decides on.",
                ("rules",),
            )
        if self.default is not None and (not self.default.ways or self.default.continue_ is not None):
            fix = "Say where leads go, such as default: {pool: NAME}."
            raise wrong("the default does not end the search", fix, ("default",))
        if clash := next((name for name in self.tables if name in _OURS | _RESERVED), None):
            fix = "Name it otherwise: conditions use this word for something else."
            raise wrong(f"a table is called {clash}", fix, ("tables", clash))
        if kept := next(
            (n for n in chain(self.areas, *(t.columns for t in self.tables.values())) if n in _RESERVED), None
        ):
            raise wrong(f"{kept} cannot be written in a condition", "Name it otherwise: CEL keeps this word.")
        return self

    @property
    def of_leads_and_members(self) -> Vocabulary:
        """What conditions over a member and a lead may ask."""
        return Vocabulary.of(STANDARD, OF_MEMBERS, self.attributes.of_leads, self.attributes.of_members)

    @property
    def of_leads(self) -> Vocabulary:
        """What conditions over a lead alone may ask, besides tables and areas."""
        return Vocabulary.of(STANDARD, self.attributes.of_leads)

    def surroundings(self, contents: Contents, where: Where) -> Surroundings:
        """What conditions over a lead may ask. Raises BadInput when a table or an area is not sound."""
        own = {**STANDARD, **self.attributes.of_leads}
        known = Vocabulary(own)
        tables = {
            name: part.made(name, known, contents, partial(_under, where, "tables", name))
            for name, part in self.tables.items()
        }
        areas = areas_of(self.areas, contents, partial(_under, where, "areas", "")) if self.areas else None
        return Surroundings.of(own, tables, areas)

    def rulebook(self, around: Surroundings, pools: Sequence[Pool], where: Where) -> Rulebook | None:
        """The rules; None when there are none and no default. Raises BadInput with the place."""
        if self.default is None:
            return None
        checks = _Checks(around, {pool.name for pool in pools}, self.attributes.of_members, where)
        rules = [checks.rule(part, ("rules", at)) for at, part in enumerate(self.rules)]
        checks.then(self.default, ("default",))
        return Rulebook(rules, self.default.made(), around, pools)


def _under(where: Where, section: str, name: str, rest: str) -> str:
    """The place of something within a table or an area, whose own path is a text."""
    head, _, tail = rest.partition(".") if not name else (name, "", rest)
    return f"{where((section, head))}{'.' * bool(tail)}{tail}"


class _Checks:
    """What a rule must fulfil beyond its form: its condition compiles, what it names exists and is of its kind."""

    def __init__(self, around: Surroundings, pools: set[str], of_members: Mapping[str, Kind], where: Where) -> None:
        self._around, self._pools, self._members, self._where = around, pools, of_members, where

    def rule(self, part: RulePart, way: tuple[str | int, ...]) -> Rule:
        condition = None if part.when is True else self.condition(part.when, (*way, "when"))
        self.then(part.then, (*way, "then"))
        return Rule(part.name, condition, part.then.made())

    def condition(self, source: str, way: tuple[str | int, ...]) -> Condition:
        return conditions.compile(source, self._around.vocabulary, where=lambda: self._where(way))

    def then(self, part: ThenPart, way: tuple[str | int, ...]) -> None:
        for name, kinds in _KINDS.items():
            self._said(getattr(part, name), kinds, (*way, name))
        if isinstance(part.pool, str):
            self._pool(part.pool, self._where((*way, "pool")))
        if isinstance(part.pool, CellPart):
            self._pools_of(part.pool)
        for at, fact in enumerate(part.wait.facts if part.wait else ()):
            self._known(fact, (*way, "wait", "facts", at))
        for at, skill in enumerate(part.skills):
            self._skill(skill, (*way, "skills", at))

    def _said(self, said: object, kinds: Sequence[Kind], way: tuple[str | int, ...]) -> None:
        if isinstance(said, CellPart):
            self._column(said, way)
        if isinstance(said, FactPart):
            self._known(said.fact, (*way, "fact"))
        if isinstance(said, FactPart | CellPart) and self._kind(said) not in kinds:
            wanted = " or ".join("whole number" if kind is Kind.WHOLE else kind for kind in kinds)
            raise BadInput(
                f"{said.made().name} is a {self._kind(said)}, and a {wanted} is wanted",
                field=self._where(way),
                fix="Look up something else, or declare it as that.",
            )

    def _kind(self, said: LookedUp) -> Kind:
        return self._around.vocabulary.kinds[said.made().name]

    def _column(self, said: CellPart, way: tuple[str | int, ...]) -> None:
        table = self._around.tables.get(said.table)
        if table is None:
            fix = suggestion(said.table, self._around.tables)
            raise BadInput(f"no table is called {said.table}", field=self._where((*way, "table")), fix=fix)
        if said.column not in table.columns:
            fix = suggestion(said.column, table.columns)
            raise BadInput(f"{said.table} has no column {said.column}", field=self._where((*way, "column")), fix=fix)

    def _known(self, fact: str, way: tuple[str | int, ...]) -> None:
        if fact not in self._around.vocabulary.kinds:
            fix = suggestion(fact, self._around.vocabulary.kinds)
            raise BadInput(f"nothing is called {fact} here", field=self._where(way), fix=fix)

    def _pool(self, name: str, where: str) -> None:
        if name not in self._pools:
            raise BadInput(f"no pool is called {name}", field=where, fix=suggestion(name, self._pools))

    def _pools_of(self, said: CellPart) -> None:
        """Every pool that a table names exists."""
        table: Table = self._around.tables[said.table]
        at = list(table.columns).index(said.column)
        for key, row in table.rows.items():
            if row[at]:
                self._pool(str(row[at]), f"tables.{said.table}, the row of {', '.join(key)}")

    def _skill(self, skill: SkillPart, way: tuple[str | int, ...]) -> None:
        kind = self._members.get(f"member.{skill.name}")
        if kind is None:
            raise BadInput(
                f"no attribute of members is called {skill.name}",
                field=self._where((*way, "name")),
                fix=suggestion(skill.name, [name.removeprefix("member.") for name in self._members])
                + " They are declared under attributes: {member: ...}.",
            )
        kinds = _WANTED.get(kind, ())
        self._said(skill.wanted, kinds, (*way, "wanted"))
        if not isinstance(skill.wanted, FactPart | CellPart) and _kind_of(skill.wanted) not in kinds:
            raise BadInput(
                f"{skill.name} of members is a {kind}, and {skill.wanted!r} does not go with it",
                field=self._where((*way, "wanted")),
                fix="A list or a text wants a text, a number a number, a flag true or false.",
            )


#: Which kinds the looked-up values of a rule may have.
_KINDS: Mapping[str, Sequence[Kind]] = {
    "pool": _TEXTS,
    "owner": _TEXTS,
    "hold": _TEXTS,
    "preferred": _TEXTS,
    "priority": _NUMBERS,
    "units": _NUMBERS,
    "turn": _NUMBERS,
    "hot": _FLAGS,
}
#: What a skill wants, by the kind of the member's attribute.
_WANTED: Mapping[Kind, Sequence[Kind]] = {
    Kind.LIST: _TEXTS,
    Kind.TEXT: _TEXTS,
    Kind.NUMBER: _NUMBERS,
    Kind.WHOLE: _NUMBERS,
    Kind.FLAG: _FLAGS,
}


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return Kind.FLAG
    return Kind.TEXT if isinstance(value, str) else Kind.WHOLE if isinstance(value, int) else Kind.NUMBER


def no_contents(digest: str) -> bytes:
    """Stands for contents where there are none. Raises BadInput."""
    raise BadInput(
        f"the content {digest} is not here",
        field="policy",
        fix="Bring the file with: fairturn policy table NAME FILE.csv, or fairturn policy area NAME FILE.geojson.",
    )

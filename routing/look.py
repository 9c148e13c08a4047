"""What a policy can see of one lead: its facts, and the rows of tables and the areas that they lead to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from routing.areas import Areas
from routing.atoms import FOLDED, MADE, texts
from routing.cel import HAS
from routing.conditions import Condition, Made, made
from routing.tables import Table
from routing.vocabulary import Kind, Vocabulary

AREA = "area."
PLACE = ("lead.latitude", "lead.longitude")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What conditions of one policy may ask: the vocabulary, and the tables and areas some of its names come from."""

    vocabulary: Vocabulary
    tables: Mapping[str, Table]
    areas: Areas | None = None
    _made: dict[str, Made | None] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, own: Mapping[str, Kind], tables: Mapping[str, Table], areas: Areas | None = None) -> "Surroundings":
        """`own`: the names that neither tables nor areas bring."""
        cells = {f"{table.name}.{name}": kind for table in tables.values() for name, kind in table.columns.items()}
        flags = {AREA + name: Kind.FLAG for name in (areas.names if areas else ())}
        return cls(Vocabulary.of(own, cells, flags), tables, areas)

    def made(self, expression: str) -> Made | None:
        """What an expression comes to, compiled once; None when it is none."""
        if expression not in self._made:
            self._made[expression] = made(expression, self.vocabulary)
        return self._made[expression]

    def reads(self, name: str) -> tuple[str, ...]:
        """The facts that a name rests on."""
        head, _, rest = name.partition(".")
        if head == "area" and rest:
            return PLACE
        if head in self.tables:
            return self.tables[head].reads
        return ("lead.received_at", "now") if name == "lead.age_hours" else (name,)


class Look:
    """One lead as the rules see it; every name is read at most once."""

    def __init__(self, around: Surroundings, facts: Mapping[str, object], now: datetime) -> None:
        self._around, self._facts, self._now = around, facts, now
        self._values: dict[str, object] = {}
        self._answers: dict[str, bool] = {}

    def value(self, name: str) -> object:
        """The value of a name or of what is made of names (routing/atoms.py), as its kind; None when it is missing."""
        if name not in self._values:
            self._values[name] = self._read(name)
        return self._values[name]

    def holds(self, condition: Condition) -> bool:
        """Whether the condition holds; the same words are asked once."""
        found = self._answers.get(condition.source)
        if found is None:
            found = self._answers[condition.source] = condition.holds_of(self.values(condition.names))
        return found

    def values(self, names: Iterable[str]) -> dict[str, object]:
        """Those of the names that are not missing."""
        return {name: value for name in names if (value := self.value(name)) is not None}

    @cached_property
    def areas(self) -> frozenset[str] | None:
        """The area that the lead's place is in, if any; None when the place is not known."""
        lat, lon = (self.value(name) for name in PLACE)
        if not isinstance(lat, float) or not isinstance(lon, float) or self._around.areas is None:
            return None
        found = self._around.areas.at(lat, lon)
        return frozenset({min(found)}) if found else found  # of a sliver that two share: to the first by name

    def _read(self, name: str) -> object:
        if name.startswith((MADE, FOLDED)):
            return self._made_of(name[0], name[1:])
        head, _, rest = name.partition(".")
        if name.startswith(HAS):
            return self.value(name.removeprefix(HAS)) is not None
        if name == "now":
            return self._now
        if name == AREA:
            return None if self.areas is None else list(self.areas)
        if head == "area":
            return None if self.areas is None else rest in self.areas
        if head in self._around.tables:
            return self._cell(head, name)
        if name == "lead.age_hours" and name not in self._facts:
            return self._age()
        return self._around.vocabulary.read(self._facts, (name,)).get(name)

    def _made_of(self, how: str, name: str) -> object:
        if how == FOLDED:
            value = self.value(name)
            if isinstance(value, list):
                return [text.casefold() for text in texts(value)]
            return value.casefold() if isinstance(value, str) else None
        expression = self._around.made(name)
        return None if expression is None else expression.of(self.values(expression.names))

    def _cell(self, table: str, name: str) -> object:
        """Puts the whole row in, as the next question is about another cell of it."""
        asked = self._around.tables[table]
        row = asked.row(self.values(asked.reads))
        self._values.update({f"{table}.{column}": row.get(column) for column in asked.columns})
        return self._values[name]

    def _age(self) -> object:
        received = self.value("lead.received_at")
        return (self._now - received) / timedelta(hours=1) if isinstance(received, datetime) else None

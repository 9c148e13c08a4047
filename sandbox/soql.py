"""SOQL as text into a Query: one object, dotted fields, conditions, order, limit.

Grammar: SOQL and SOSL Reference, "SOQL SELECT Syntax". Not served: aggregates other than COUNT(), subqueries, TYPEOF.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Path = tuple[str, ...]
Scalar = str | float | bool | None


class MalformedQuery(Exception):  # noqa: N818 - Salesforce's own word
    """The text is no SOQL; the message says where it went wrong."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A date or datetime written without quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A date literal: TODAY, LAST_N_DAYS:7."""

    name: str
    days: int = 0


Literal_ = Scalar | Moment | Span


@dataclass(frozen=True, slots=True)
class Compare:
    """`path op value`; for IN and NOT IN the value is the whole list."""

    path: Path
    op: str
    value: Literal_ | tuple[Literal_, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions under one AND or OR."""

    op: Literal["AND", "OR"]
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


Condition = Compare | Joined | Not


@dataclass(frozen=True, slots=True)
class Order:
    """One key of ORDER BY."""

    path: Path
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query; no columns mean COUNT()."""

    columns: tuple[Path, ...]
    object: str
    alias: str = ""
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


_TOKENS = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<moment>\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))?)
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::\d+)?)
    | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_SPANS = {"TODAY", "YESTERDAY", "TOMORROW"}
_SPANS_OF_DAYS = {"LAST_N_DAYS", "NEXT_N_DAYS", "N_DAYS_AGO"}
_RESERVED = {"WHERE", "ORDER", "LIMIT", "OFFSET", "FOR", "USING", "WITH", "GROUP", "HAVING"}
_WORDS: dict[str, Scalar] = {"TRUE": True, "FALSE": False, "NULL": None}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKENS.match(text, at)
        if found is None or found.lastgroup is None:
            raise MalformedQuery(f"unexpected token: '{text[at:].strip()[:1]}' at position {at}")
        yield _Token(found.lastgroup, found.group(found.lastgroup), found.start(found.lastgroup))
        at = found.end()


def parse(text: str) -> Query:
    """The query this text asks. MalformedQuery when it is none."""
    return _Parser(text).query()


class _Parser:
    """Recursive descent; one method a rule."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0

    def peek(self) -> str:
        """The next token's text in capitals; empty at the end."""
        return self.tokens[self.at].text.upper() if self.at < len(self.tokens) else ""

    def take(self, kind: str | None = None) -> _Token:
        if self.at >= len(self.tokens):
            raise MalformedQuery("unexpected end of query")
        token = self.tokens[self.at]
        if kind and token.kind != kind:
            raise MalformedQuery(f"unexpected token: '{token.text}' at position {token.at}")
        self.at += 1
        return token

    def accept(self, *words: str) -> bool:
        """Steps over these words if they come next, all of them."""
        ahead = [token.text.upper() for token in self.tokens[self.at : self.at + len(words)]]
        if ahead != list(words):
            return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            found = self.peek() or "end of query"
            raise MalformedQuery(f"unexpected token: '{found}', expecting {' '.join(words)}")

    def query(self) -> Query:
        self.expect("SELECT")
        columns = self.columns()
        self.expect("FROM")
        name = self.take("word").text
        alias = self.alias()
        where = self.either() if self.accept("WHERE") else None
        order = self.orders() if self.accept("ORDER", "BY") else ()
        limit = self.count() if self.accept("LIMIT") else None
        offset = self.count() if self.accept("OFFSET") else 0
        if self.accept("FOR"):
            self.take("word")  # VIEW, REFERENCE or UPDATE change nothing here
        if self.at < len(self.tokens):
            raise MalformedQuery(f"unexpected token: '{self.tokens[self.at].text}'")
        return Query(columns, name, alias, where, order, limit, offset)

    def columns(self) -> tuple[Path, ...]:
        if self.accept("COUNT", "(", ")"):
            return ()
        columns = [self.column()]
        while self.accept(","):
            columns.append(self.column())
        return tuple(columns)

    def column(self) -> Path:
        """A field, or FIELDS(ALL | STANDARD | CUSTOM) as a path of two."""
        if self.accept("FIELDS", "("):
            which = self.take("word").text.upper()
            self.expect(")")
            return ("FIELDS()", which)
        return self.path()

    def path(self) -> Path:
        return tuple(self.take("word").text.split("."))

    def alias(self) -> str:
        self.accept("AS")
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "word" and self.peek() not in _RESERVED:
            return self.take().text
        return ""

    def either(self) -> Condition:
        """Conditions joined by OR or by AND: SOQL wants parentheses where both appear."""
        first = self.condition()
        parts = [first]
        op = self.peek()
        while op in {"AND", "OR"} and self.accept(op):
            parts.append(self.condition())
        if op in {"AND", "OR"} and self.peek() in {"AND", "OR"}:
            raise MalformedQuery(f"unexpected token: '{self.peek()}': put parentheses where AND and OR meet")
        if len(parts) == 1:
            return first
        return Joined("AND" if op == "AND" else "OR", tuple(parts))

    def condition(self) -> Condition:
        if self.accept("NOT"):
            return Not(self.condition())
        if self.accept("("):
            inner = self.either()
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> Compare:
        path = self.path()
        for op, words in (("NOT IN", ("NOT", "IN")), ("IN", ("IN",))):
            if self.accept(*words):
                return Compare(path, op, self.listed())
        if self.accept("LIKE"):
            return Compare(path, "LIKE", self.literal())
        sign = self.take("sign").text
        if sign not in {"=", "!=", "<>", "<", "<=", ">", ">="}:
            raise MalformedQuery(f"unexpected token: '{sign}'")
        return Compare(path, "!=" if sign == "<>" else sign, self.literal())

    def listed(self) -> tuple[Literal_, ...]:
        self.expect("(")
        values = [self.literal()]
        while self.accept(","):
            values.append(self.literal())
        self.expect(")")
        return tuple(values)

    def literal(self) -> Literal_:
        token = self.take()
        if token.kind == "string":
            return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token.text[1:-1], flags=re.DOTALL)
        if token.kind == "number":
            return float(token.text)
        if token.kind == "moment":
            return Moment(token.text)
        return self.word(token)

    def word(self, token: _Token) -> Literal_:
        name, _, days = token.text.upper().partition(":")
        if name in _WORDS and not days:
            return _WORDS[name]
        if (name in _SPANS and not days) or (name in _SPANS_OF_DAYS and days):
            return Span(name, int(days or 0))
        raise MalformedQuery(f"unexpected token: '{token.text}' at position {token.at}")

    def orders(self) -> tuple[Order, ...]:
        orders = [self.order()]
        while self.accept(","):
            orders.append(self.order())
        return tuple(orders)

    def order(self) -> Order:
        path = self.path()
        descending = self.accept("DESC")
        if not descending:
            self.accept("ASC")
        nulls_first = not descending
        if self.accept("NULLS"):
            nulls_first = self.accept("FIRST")
            if not nulls_first:
                self.expect("LAST")
        return Order(path, descending, nulls_first)

    def count(self) -> int:
        token = self.take("number")
        if not token.text.isdigit():
            raise MalformedQuery(f"unexpected token: '{token.text}' at position {token.at}")
        return int(token.text)

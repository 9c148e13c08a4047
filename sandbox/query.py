"""A parsed query over the org's records."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sandbox import clock, ids, values
from sandbox.errors import ApiError
from sandbox.org import Org
from sandbox.schema import Field, SObject
from sandbox.soql import Compare, Condition, Joined, Literal_, Moment, Not, Order, Path, Query, Span
from sandbox.values import Record

Test = Callable[[Record], bool]
_NUMBERS = {"int", "double", "currency", "percent"}
_UNFILTERED = {"textarea", "address"}
_DAY_MS = 86_400_000
MOST_OFFSET = 2000


@dataclass(frozen=True, slots=True)
class Column:
    """A field reached through zero or more lookups."""

    hops: tuple[Field, ...]
    field: Field


def _bad(code: str, message: str) -> ApiError:
    return ApiError(400, code, message)


class Reader:
    """Answers one query."""

    def __init__(self, org: Org, query: Query) -> None:
        found = org.sobject(query.object)
        if found is None:
            raise _bad("INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
        self.org = org
        self.query = query
        self.sobject: SObject = found
        self.columns = tuple(column for path in query.columns for column in self._columns(path))
        self.test = self._test(query.where) if query.where else None
        self.orders = [(order, self._column(order.path)) for order in query.order]
        if query.offset > MOST_OFFSET:
            raise _bad("NUMBER_OUTSIDE_VALID_RANGE", f"SOQL offset must be at most {MOST_OFFSET}")

    # --- names

    def _columns(self, path: Path) -> Iterator[Column]:
        if path[0] != "FIELDS()":
            yield self._column(path)
            return
        for each in self.sobject.fields:
            if path[1] == "ALL" or each.custom == (path[1] == "CUSTOM"):
                yield Column((), each)

    def _column(self, path: Path) -> Column:
        if len(path) > 1 and path[0].lower() in {self.query.alias.lower(), self.sobject.name.lower()}:
            path = path[1:]
        hops: list[Field] = []
        at: tuple[SObject, ...] = (self.sobject,)
        for name in path[:-1]:
            hop = at[0].by_relationship.get(name.lower())
            if hop is None:
                raise self._no_relation(at[0], name)
            hops.append(hop)
            at = tuple(self.org.types[each] for each in hop.to if each in self.org.types)
        for each in at:
            if field := each.by_name.get(path[-1].lower()):
                return Column(tuple(hops), field)
        raise _bad("INVALID_FIELD", f"No such column '{path[-1]}' on entity '{at[0].name}'.")

    def _no_relation(self, sobject: SObject, name: str) -> ApiError:
        return _bad("INVALID_FIELD", f"Didn't understand relationship '{name}' in field path of '{sobject.name}'.")

    def _other(self, hop: Field, record: Record) -> Record | None:
        """The record a lookup points to."""
        target = record.get(hop.name)
        sobject = self.org.type_of(target) if target else None
        return self.org.tables[sobject.name].records.get(target) if sobject and target else None

    def _value(self, column: Column, record: Record) -> Any:
        at: Record | None = record
        for hop in column.hops:
            at = self._other(hop, at) if at else None
        return at.get(column.field.name) if at else None

    # --- conditions

    def _test(self, condition: Condition) -> Test:
        if isinstance(condition, Not):
            inner = self._test(condition.part)
            return lambda record: not inner(record)
        if isinstance(condition, Joined):
            tests = [self._test(part) for part in condition.parts]
            if condition.op == "AND":
                return lambda record: all(test(record) for test in tests)
            return lambda record: any(test(record) for test in tests)
        return self._comparison(condition)

    def _comparison(self, condition: Compare) -> Test:
        column = self._column(condition.path)
        field = column.field
        if field.type in _UNFILTERED:
            raise _bad("INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call")
        holds = self._predicate(field, condition)
        if not column.hops:
            name, seen = field.name, _seen(field)
            return lambda record: holds(seen(record.get(name)))
        seen = _seen(field)
        return lambda record: holds(seen(self._value(column, record)))

    def _predicate(self, field: Field, condition: Compare) -> Callable[[Any], bool]:
        if isinstance(condition.value, tuple):
            wanted = {self._operand(field, each) for each in condition.value}
            return (lambda value: value in wanted) if condition.op == "IN" else (lambda value: value not in wanted)
        if condition.op == "LIKE":
            like = _like(str(condition.value))
            return lambda value: value is not None and like.fullmatch(str(value)) is not None
        if isinstance(condition.value, Span):
            return _within(condition.op, *self._span(field, condition.value))
        return _against(condition.op, self._operand(field, condition.value))

    def _operand(self, field: Field, value: Literal_) -> Any:
        """A literal in the field's own terms. INVALID_FIELD when it is of another type."""
        if value is None:
            return None
        if field.type in {"date", "datetime"} and isinstance(value, Moment):
            return _moment(field, value.text)
        if field.type in {"id", "reference"} and isinstance(value, str):
            return ids.full(value) or value
        wanted: type = str
        if field.type in _NUMBERS:
            wanted = float
        elif field.type == "boolean":
            wanted = bool
        if not isinstance(value, wanted) or field.type in {"date", "datetime"}:
            quotes = "should not be enclosed in quotes" if isinstance(value, str) else "should be enclosed in quotes"
            message = f"value of filter criterion for field '{field.name}' must be of type {field.type} and {quotes}"
            raise _bad("INVALID_FIELD", message)
        return _folded(value)

    def _span(self, field: Field, span: Span) -> tuple[Any, Any]:
        """First and first-not-included moment of a date literal, in UTC."""
        today = self.org.clock.now_ms() // _DAY_MS
        first, last = {
            "TODAY": (today, today + 1),
            "YESTERDAY": (today - 1, today),
            "TOMORROW": (today + 1, today + 2),
            "LAST_N_DAYS": (today - span.days, today + 1),
            "NEXT_N_DAYS": (today + 1, today + 1 + span.days),
            "N_DAYS_AGO": (today - span.days, today - span.days + 1),
        }[span.name]
        if field.type == "datetime":
            return first * _DAY_MS, last * _DAY_MS
        epoch = date(1970, 1, 1)
        return tuple((epoch + timedelta(days=each)).isoformat() for each in (first, last))  # type: ignore[return-value]  # two of two

    # --- answers

    def records(self, *, deleted: bool = False) -> list[Record]:
        """The matching records in order, cut by OFFSET and LIMIT."""
        found = [record for record in self._candidates() if deleted or not record.get("IsDeleted")]
        if self.test:
            found = [record for record in found if self.test(record)]
        for order, column in reversed(self.orders):
            found.sort(key=self._key(order, column), reverse=order.descending)
        end = None if self.query.limit is None else self.query.offset + self.query.limit
        return found[self.query.offset : end]

    def _key(self, order: Order, column: Column) -> Callable[[Record], Any]:
        null_rank = order.nulls_first == order.descending
        seen = _seen(column.field)

        def key(record: Record) -> Any:
            value = self._value(column, record)
            return (null_rank, 0) if value is None else (not null_rank, seen(value))

        return key

    def _candidates(self) -> Iterable[Record]:
        """All records, or only those that an Id condition names."""
        table = self.org.tables[self.sobject.name].records
        named = _named_ids(self.query.where)
        if named is None:
            return table.values()
        return [table[each] for each in dict.fromkeys(named) if each in table]

    def shown(self, record: Record, version: str) -> dict[str, Any]:
        """One row of the answer, lookups nested."""
        row = _frame(self.sobject, record, version)
        for column in self.columns:
            self._place(row, record, column, version)
        return row

    def _place(self, row: dict[str, Any], record: Record, column: Column, version: str) -> None:
        at, within = record, row
        for hop in column.hops:
            other = self._other(hop, at)
            sobject = self.org.type_of(other["Id"]) if other else None
            if other is None or sobject is None:
                within.setdefault(hop.relationship, None)
                return
            within = within.setdefault(hop.relationship, None) or _nest(within, hop, sobject, other, version)
            at = other
        within[column.field.name] = values.shown(column.field, at)


def _nest(within: dict[str, Any], hop: Field, sobject: SObject, other: Record, version: str) -> dict[str, Any]:
    within[hop.relationship] = _frame(sobject, other, version)
    nested: dict[str, Any] = within[hop.relationship]
    return nested


def _frame(sobject: SObject, record: Record, version: str) -> dict[str, Any]:
    url = f"/services/data/v{version}/sobjects/{sobject.name}/{record['Id']}"
    return {"attributes": {"type": sobject.name, "url": url}}


def _seen(field: Field) -> Callable[[Any], Any]:
    """How conditions and orders see a field's value: texts without case, but ids with it."""
    if field.type == "boolean":
        return bool
    return _as_it_is if field.type in {"id", "reference"} else _folded


def _as_it_is(value: Any) -> Any:
    return value


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _named_ids(condition: Condition | None) -> list[str] | None:
    if isinstance(condition, Joined) and condition.op == "AND":
        return next((named for part in condition.parts if (named := _named_ids(part)) is not None), None)
    if not isinstance(condition, Compare) or [each.lower() for each in condition.path] != ["id"]:
        return None
    if condition.op not in {"=", "IN"}:
        return None
    wanted = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    return [ids.full(each) or each for each in wanted if isinstance(each, str)]


def _like(pattern: str) -> re.Pattern[str]:
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(char) or re.escape(char) for char in pattern), re.IGNORECASE | re.DOTALL)


def _moment(field: Field, text: str) -> Any:
    """A datetime for datetimes, a date for dates: SOQL mixes neither."""
    try:
        if field.type == "date":
            return date.fromisoformat(text).isoformat()
        if "T" in text:
            return clock.from_iso(text)
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        message = f"value of filter criterion for field '{field.name}' must be of type {field.type}: {text}"
        raise _bad("INVALID_FIELD", message) from None


def _against(op: str, wanted: Any) -> Callable[[Any], bool]:
    if op == "=":
        return lambda value: bool(value == wanted)
    if op == "!=":
        return lambda value: bool(value != wanted)
    if wanted is None:
        raise _bad("MALFORMED_QUERY", f"null can not be compared with {op}")
    if op == "<":
        return lambda value: value is not None and value < wanted
    if op == "<=":
        return lambda value: value is not None and value <= wanted
    if op == ">":
        return lambda value: value is not None and value > wanted
    return lambda value: value is not None and value >= wanted


def _within(op: str, first: Any, end: Any) -> Callable[[Any], bool]:
    """A comparison with a stretch of time: `=` means inside, `<` before, `>` after."""
    if op in {"=", "!="}:
        return lambda value: (value is not None and first <= value < end) == (op == "=")
    bounds = {"<": ("<", first), "<=": ("<", end), ">": (">=", end), ">=": (">=", first)}
    return _against(*bounds[op])

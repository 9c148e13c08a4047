"""Look-up tables: a row by what is known of a lead, so that one rule and a table do what thousands of rules would.

Keys are compared without regard to case and to blanks around them. Where a column of the key is a beginning
(`lead.postal_code*`), the longest one that fits counts, and an empty one fits everything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

from routing.vocabulary import Kind

#: So many different combinations of lengths of beginnings; each is one look more.
MOST_SHAPES = 64


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One column of a key: a fact whole, its first letters, or a beginning as long as each row says."""

    fact: str
    first: int | None = None
    beginning: bool = False

    def __str__(self) -> str:
        return f"{self.fact}*" if self.beginning else self.fact if self.first is None else f"{self.fact}[:{self.first}]"

    def of(self, value: object) -> str:
        """The part of a fact's value that is looked up."""
        text = key_text(value)
        return text if self.first is None else text[: self.first]


def key_text(value: object) -> str:
    """A value as keys are compared."""
    text = (str(value).lower() if isinstance(value, bool) else str(value)).strip().casefold()
    return text if text.isascii() else normalize("NFC", text)  # an accent may be written with its letter or after it


Row = Sequence[object]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows by key; built once, asked by many, never changed."""

    name: str
    key: tuple[KeyPart, ...]
    columns: Mapping[str, Kind]
    rows: Mapping[tuple[str, ...], Row]  # by key as compared; values in the order of `columns`
    _shapes: tuple[tuple[int, ...], ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shapes", tuple(sorted(self.shapes(self.key, self.rows), reverse=True)))

    @staticmethod
    def shapes(key: Sequence[KeyPart], keys: Iterable[tuple[str, ...]]) -> set[tuple[int, ...]]:
        """Which lengths the beginnings of these keys have."""
        places = [place for place, part in enumerate(key) if part.beginning]
        return {tuple(len(row[place]) for place in places) for row in keys} if places else set()

    @property
    def reads(self) -> tuple[str, ...]:
        """The facts of its key."""
        return tuple(part.fact for part in self.key)

    def row(self, facts: Mapping[str, object]) -> Mapping[str, object]:
        """The filled cells of the row for these facts; none when there is no row, or a fact of its key is missing."""
        if any(part.fact not in facts for part in self.key):
            return {}
        whole = tuple(part.of(facts[part.fact]) for part in self.key)
        row = self.rows.get(whole) if not self._shapes else self._longest(whole)
        return {} if row is None else {n: v for n, v in zip(self.columns, row, strict=True) if v is not None}

    def _longest(self, whole: tuple[str, ...]) -> Row | None:
        for shape in self._shapes:
            lengths = iter(shape)
            cut = tuple(
                text[: next(lengths)] if part.beginning else text for part, text in zip(self.key, whole, strict=True)
            )
            if (row := self.rows.get(cut)) is not None:
                return row
        return None

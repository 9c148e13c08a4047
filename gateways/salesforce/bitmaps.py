"""The bitmaps of a change event's header, which name fields by their place in the schema.

Change Data Capture Developer Guide, "ChangeEventHeader fields": `0x<hex>` covers the top level, `<place>-0x<hex>` the
parts of the compound field at that place; bit 0 is the lowest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Marked:
    """Places of fields, and of parts by the place of their compound."""

    fields: frozenset[int] = frozenset()
    parts: Mapping[int, frozenset[int]] = field(default_factory=dict)


def read(bitmaps: Iterable[str]) -> Marked:
    """What these bitmaps mark. Raises ValueError when one of them is no bitmap."""
    fields: frozenset[int] = frozenset()
    parts: dict[int, frozenset[int]] = {}
    for bitmap in bitmaps:
        place, dash, digits = bitmap.rpartition("-")
        if dash:
            parts[int(place)] = parts.get(int(place), frozenset()) | places(digits)
        else:
            fields |= places(digits)
    return Marked(fields, parts)


def places(digits: str) -> frozenset[int]:
    """The places of the bits set in one `0x...`, which may be longer than 64 bits."""
    return frozenset(_bits(int(digits, 16)))


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest

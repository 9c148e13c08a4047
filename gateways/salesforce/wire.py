"""Avro's binary encoding, read the short way: most fields of a change event are null, and only the others cost time.

Apache Avro 1.12 specification, "Binary Encoding". What this cannot read for certain it leaves to fastavro, which then
also says what is wrong with it: see `Schema.read`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

#: The value at this place, and the place after it.
Reader = Callable[[bytes, int], tuple[Any, int]]
#: Reads the value at this place into the body; the place after it.
Putter = Callable[[bytes, int, dict[str, object]], int]

#: Bits of a number read here; a longer one overflows in its own way.
LONGEST = 63

_DOUBLE, _FLOAT = Struct("<d"), Struct("<f")


class TooUnusual(Exception):  # noqa: N818 - never leaves this gateway
    """A schema, or a payload, that is left to fastavro."""


def number(data: bytes, at: int) -> tuple[int, int]:
    """An int or long: zigzag, seven bits a byte, the lowest first."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    found, shift = byte & 0x7F, 7
    while byte >= 0x80:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
    if shift > LONGEST:
        raise TooUnusual
    return (found >> 1) ^ -(found & 1), at


def text(data: bytes, at: int) -> tuple[str, int]:
    """A string in UTF-8; what is none becomes U+FFFD, and NUL goes, as the ledger holds neither."""
    length, start = number(data, at)
    if length < 0:
        raise TooUnusual
    end = start + length
    found = data[start:end].decode("utf-8", "replace")
    return found.replace("\0", "") if "\0" in found else found, end


def _boolean(data: bytes, at: int) -> tuple[bool, int]:
    return data[at] != 0, at + 1


def _double(data: bytes, at: int) -> tuple[float | None, int]:
    (found,) = _DOUBLE.unpack_from(data, at)
    return found if math.isfinite(found) else None, at + 8


def _float(data: bytes, at: int) -> tuple[float | None, int]:
    (found,) = _FLOAT.unpack_from(data, at)
    return found if math.isfinite(found) else None, at + 4


_PLAIN: Mapping[str, Reader] = {
    "boolean": _boolean,
    "int": number,
    "long": number,
    "float": _float,
    "double": _double,
    "string": text,
}


def reader(kind: Any) -> Reader:
    """A reader of this type. Raises TooUnusual."""
    if isinstance(kind, str) and kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, dict) and "logicalType" not in kind:
        match kind["type"]:
            case "record":
                return _record([(str(one["name"]), reader(one["type"])) for one in kind["fields"]])
            case "array":
                return _array(reader(kind["items"]))
            case "enum":
                return _enum(tuple(kind["symbols"]))
            case plain if isinstance(plain, str) and plain in _PLAIN:
                return _PLAIN[plain]
    raise TooUnusual


def _record(fields: Sequence[tuple[str, Reader]]) -> Reader:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        for name, one in fields:
            found[name], at = one(data, at)
        return found, at

    return read


def _array(item: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        if data[at] == 0:
            return [], at + 1
        found: list[Any] = []
        while True:
            count, at = number(data, at)
            if count == 0:
                return found, at
            if count < 0:  # the block's size in bytes follows, for those who skip it
                count = -count
                _, at = number(data, at)
            if count > len(data):
                raise TooUnusual
            for _ in range(count):
                one, at = item(data, at)
                found.append(one)

    return read


def _enum(symbols: tuple[str, ...]) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        place, at = number(data, at)
        if place < 0:
            raise TooUnusual
        return symbols[place], at

    return read


# --- into a body -----------------------------------------------------------------------------------------------------


def putters(kind: Any, into: Callable[[Any], Putter]) -> tuple[Putter | None, ...]:
    """One putter a branch of this union, None where the branch is null. Raises TooUnusual when it is no union."""
    if not isinstance(kind, list):
        raise TooUnusual
    return tuple(None if branch == "null" else into(branch) for branch in kind)


def put(name: str, kind: Any, write: Callable[[int], str] | None) -> Putter:
    """Puts a value under this name; `write` makes of a number what REST shows."""
    if kind == "string":
        return _put_text(name)
    if write is not None and kind in {"int", "long"}:
        return _put_written(name, write)
    read = reader(kind)

    def keep(data: bytes, at: int, body: dict[str, object]) -> int:
        body[name], at = read(data, at)
        return at

    return keep


def _put_text(name: str) -> Putter:
    def keep(data: bytes, at: int, body: dict[str, object]) -> int:
        size = data[at]
        if size & 0x81:  # long, or nonsense
            body[name], at = text(data, at)
            return at
        at += 1
        end = at + (size >> 1)
        found = data[at:end].decode("utf-8", "replace")
        body[name] = found.replace("\0", "") if "\0" in found else found
        return end

    return keep


def _put_written(name: str, write: Callable[[int], str]) -> Putter:
    def keep(data: bytes, at: int, body: dict[str, object]) -> int:
        found, at = number(data, at)
        body[name] = write(found)
        return at

    return keep


def fields(branches: Sequence[tuple[Putter | None, ...]]) -> Putter:
    """Reads fields that are unions, one after the other."""
    shapes = tuple(branches)

    def keep(data: bytes, at: int, body: dict[str, object]) -> int:
        for choices in shapes:
            branch = data[at]
            at += 1
            if branch & 0x81:
                raise TooUnusual
            one = choices[branch >> 1]
            if one is not None:
                at = one(data, at, body)
        return at

    return keep

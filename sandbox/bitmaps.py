"""Field sets as CDC writes them: big hexadecimal integers, one bit per field of the event schema."""

from collections.abc import Iterable, Mapping


def bitmap(positions: Iterable[int]) -> str:
    """`0x` and the bits in whole bytes, upper case; bit n stands for field n, counted from the lowest."""
    bits = 0
    for position in positions:
        bits |= 1 << position
    digits = f"{bits:X}"
    return "0x" + digits.rjust(len(digits) + len(digits) % 2, "0")


def field_set(top: Iterable[int], nested: Mapping[int, Iterable[int]]) -> list[str]:
    """The array form: top-level fields first when there are any, then `<parent>-0x..` for each compound.

    A compound's own bit is never set at the top.
    """
    top = list(top)
    compounds = [f"{parent}-{bitmap(inner)}" for parent, inner in sorted(nested.items())]
    return ([bitmap(top)] if top else []) + compounds

"""Numbers in what others wrote."""

import math


def number_in(value: object) -> float | None:
    """The finite number that a value is or that a text writes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None

"""What may stand in a message: ids and short words. Whatever else does is refused before any work begins."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from routing.errors import BadInput

#: More ids than any of our messages carries.
MOST = 1_000
LARGEST_ID = 2**63 - 1
LONGEST = 2_000
_FIX = "Nothing is lost: the rows are found by the relay. See who else writes to the broker."


def checked(run: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise BadInput unless these arguments are what the task's own signature says."""
    signature = _signature(run)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as exc:
        raise BadInput("not the arguments of this task", field="args", fix=_FIX) from exc
    for name, value in given.items():
        wanted = signature.parameters[name].annotation
        if wanted == list[int] and not _are_ids(value):
            raise BadInput(f"not a list of up to {MOST} ids", field=name, fix=_FIX)
        if wanted is int and not _is_number(value):
            raise BadInput("not a number", field=name, fix=_FIX)
        if wanted is str and not (isinstance(value, str) and len(value) <= LONGEST):
            raise BadInput("not a short text", field=name, fix=_FIX)


@cache
def _signature(run: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(run)


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MOST and all(_is_number(one) and one > 0 for one in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_ID

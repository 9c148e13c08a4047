"""Loaded by schemathesis: half of the ids it makes up are replaced by ids that there are."""

import os
import random
from typing import Any

import schemathesis

NAMES = ("offer_id", "person_id", "ref", "pool", "version")
KNOWN = {name: os.environ.get(f"KNOWN_{name.upper()}", "").split() for name in NAMES}
dice = random.Random(4)


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    for name, ids in KNOWN.items():
        if path_parameters and ids and _is_good(name, path_parameters.get(name)) and dice.random() < 0.5:
            path_parameters[name] = dice.choice(ids)
    return path_parameters


def _is_good(name: str, value: Any) -> bool:
    """Whether the document allows the value; one that it does not allow is left as it was made up."""
    if value is None or (name == "version" and not (str(value).isdecimal() and 1 <= int(value) < 2**31)):
        return False
    return 0 < len(str(value)) <= 200 and "\0" not in str(value)

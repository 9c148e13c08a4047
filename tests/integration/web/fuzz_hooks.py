"""Loaded by schemathesis: half of the ids it makes up are replaced by ids that there are."""

import os
import random
from typing import Any

import schemathesis

KNOWN = {name: os.environ.get(f"KNOWN_{name.upper()}", "").split() for name in ("offer_id", "person_id")}
dice = random.Random(4)


@schemathesis.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    for name, ids in KNOWN.items():
        if path_parameters and name in path_parameters and ids and dice.random() < 0.5:
            path_parameters[name] = dice.choice(ids)
    return path_parameters

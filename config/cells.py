"""Values as cells of a CSV file that people open in a spreadsheet."""

import json
from typing import Any

#: A spreadsheet would take what begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """The value; JSON where it is nested; behind a ' what a spreadsheet would take for a formula."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

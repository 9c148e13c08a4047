"""The table of problems in docs/api.md is the one the code gives, and each of its types is said once."""

import re

from web.problems import PAGE, page


def test_the_page_names_every_problem_as_it_is() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run `python -m web.problems`"


def test_each_type_is_listed_once_with_what_it_means() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    names = [name for name, *_ in rows]
    assert len(names) == len(set(names))
    assert {"offer-expired", "already-answered", "idempotency-key-reused", "too-many-requests"} <= set(names)

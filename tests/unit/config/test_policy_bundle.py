"""Any policy is the same after it was taken out and in (row W3)."""

import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config import policy_bundle
from config.policy import dump
from config.policy_text import read
from routing.policy_diff import differences
from storage.postgres.policy_rows import digest

#: What YAML can write and a policy hold: everything that is seen.
TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20) | st.sampled_from(
    [
        "NO",
        "yes",
        "12:30",
        "010",
        "1_000",
        "null",
        "~",
        "",
        " x ",
        "# no comment",
        "- a",
        "a: b",
        "2026-01-01",
        "1e3",
        "é\u00a0ü",
    ]
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(TEXT.filter(bool), VALUES, min_size=1, max_size=6)
CONTENTS = st.lists(st.binary(max_size=100), max_size=3)


def whole(document: dict[str, Any], contents: list[bytes]) -> policy_bundle.Bundle:
    held = {f"sha256:{sha256(one).hexdigest()}": one for one in contents}
    tables = {f"t{n}": {"content": name} for n, name in enumerate(held)}
    made = document | {"tables": tables} if tables else document
    return policy_bundle.bundle(made, held.__getitem__, {"version": 3, "note": "x"})


@given(DOCUMENTS, CONTENTS)
def test_W3_every_policy_is_the_same_after_a_round_trip(document: dict[str, Any], contents: list[bytes]) -> None:
    made = whole(document, contents)
    with tempfile.TemporaryDirectory() as place:
        for name in ("folder", "file.json"):
            policy_bundle.write(made, Path(place) / name)
            found = policy_bundle.read(Path(place) / name)
            assert differences(dict(made.document), dict(found.document)) == []
            assert (found.contents, digest(found.document)) == (made.contents, digest(made.document))


@given(DOCUMENTS)
def test_what_is_written_as_yaml_is_read_as_the_same(document: dict[str, Any]) -> None:
    assert differences(dict(read(dump(document), "x")), document) == []

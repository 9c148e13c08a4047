"""Bad input to the policy, through the real loaders: refused with the place and the fix, in bounded time and memory."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from config import policy_text
from config.policy import load_file, parse
from config.policy_checking import findings, unreadable
from routing.errors import BadInput

HEAD = """
attributes:
  lead: {score: number, product: text, languages: list}
  member: {languages: list, commercial: number}
pools:
  - {name: installers, market: main, rings: {unit: mi, radii: [5, 15]}}
default_tier: {capacity: 5}
"""
RULED = HEAD + "default: {pool: installers}\nrules:\n"


def laughs(merge: bool = False) -> str:
    """Nine levels, each ten times the one before: a billion values of a few lines."""
    level = "{{<<: [{}]}}" if merge else "[{}]"
    first = "a: &a {k: 1}\n" if merge else "a: &a [x]\n"
    letters = "abcdefghijk"
    return first + "".join(
        f"{name}: &{name} {level.format(', '.join([f'*{before}'] * 10))}\n" for before, name in pairwise(letters)
    )


#: What is no document at all: the text, where it is refused, a word of why.
TEXTS: Mapping[str, tuple[str, str, str]] = {
    "itself": ("a: &a [*a]\n", "line 1", "part of"),
    "itself by merging": ("a: &a {<<: *a}\n", "line 1", "part of"),
    "each other": ("a: &a {b: &b [*a]}\nc: *b\n", "line 1", "part of"),
    "a billion laughs": (laughs(), "line 7", "unfolds"),
    "a billion merges": (laughs(merge=True), "line 7", "unfolds"),
    "deep lists": ("[" * 300_000, "line 1", "deeper"),
    "deep maps": ("{a: " * 300_000, "line 1", "deeper"),
    "deep dashes": ("- " * 300_000 + "1", "line 1", "deeper"),
    "deep keys": ("? " * 300_000 + "1", "line 1", "deeper"),
    "large": ("# x\n" * 3_000_000, "p.yaml", "larger than 8 MB"),
    "one long line": ("a: " + "x" * 50_000_000, "p.yaml", "larger than 8 MB"),
    "many values": ("a: [" + "1," * 600_000 + "]", "line 1", "more than 500,000"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "line 3", "a is written twice"),
    "a long number": ("a: " + "9" * 6000, "line 1", "cannot be read"),
    "no number": ("a: !!int x", "line 1", "cannot be read"),
    "no flag": ("a: !!bool maybe", "line 1", "cannot be read"),
    "a program": ("a: !!python/object/apply:os.system [ls]", "line 1", "not known"),
    "bytes": ("a: !!binary aGVsbG8=", "line 1", "not known"),
    "a set": ("a: !!set {b, c}", "line 1", "not known"),
    "a tag of its own": ("%TAG ! tag:x,2000:\n---\na: !foo 1", "line 3", "not known"),
    "a list as a key": ("[a, b]: 1", "line 1", "no text"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2", "document"),
    "not closed": ("a: [1, 2\nb: 3", "line 2", ""),
    "a zero byte": ("a: b\0c", "line 1", "U+0000"),
    "text turned around": ("a: 1\nb: x # \u202e y", "line 2", "U+202E"),
    "nothing to see": ("a: x\u200by", "line 1", "U+200B"),
    "a mark of byte order inside": ("a: x\ufeffy", "line 1", "U+FEFF"),
    "half a letter": ('a: "\\ud800"', "line 1", ""),
    "nothing": ("", "p.yaml", "no document"),
    "a list": ("- 1", "p.yaml", "no document"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_document_is_refused_with_its_line(name: str) -> None:
    text, field, why = TEXTS[name]
    with pytest.raises(BadInput) as caught:
        policy_text.read(text, "p.yaml")
    assert caught.value.field.endswith(field)
    assert why in str(caught.value)
    assert caught.value.fix
    assert len(str(caught.value)) < 600


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def itself() -> dict[str, Any]:
    made: dict[str, Any] = {"pools": []}
    made["pools"].append(made)
    return made


def shared() -> dict[str, Any]:
    made: list[Any] = ["x"]
    for _ in range(12):
        made = [made] * 10
    return {"pools": made}


#: What JSON or a program may bring, past the reader of YAML.
DOCUMENTS: Mapping[str, tuple[Callable[[], dict[Any, Any]], str]] = {
    "itself": (itself, "pools[0].pools"),
    "unfolded": (shared, "policy"),
    "deep": (lambda: nested(100_000), "a.a.a"),
    "not a number": (lambda: json.loads('{"default_tier": {"weight": NaN}}'), "default_tier.weight"),
    "infinity": (lambda: json.loads('{"default_tier": {"weight": -Infinity}}'), "default_tier.weight"),
    "too large a number": (
        lambda: json.loads('{"default_tier": {"capacity": 1' + "0" * 4000 + "}}"),
        "default_tier.capacity",
    ),
    "half a letter": (lambda: json.loads('{"pools": [{"name": "\\ud800"}]}'), "pools[0].name"),
    "a zero byte": (lambda: json.loads('{"pools": [{"name": "a\\u0000"}]}'), "pools[0].name"),
    "an unseen key": (lambda: json.loads('{"poo\\u200bls": []}'), "pooU+200Bls"),
    "bytes": (lambda: {"pools": b"x"}, "pools"),
    "a set": (lambda: {"pools": {"x"}}, "pools"),
    "a key that is no text": (lambda: {"pools": {1: 2}}, "pools.1"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_nothing_json_holds_is_refused_with_its_path(name: str) -> None:
    make, field = DOCUMENTS[name]
    with pytest.raises(BadInput) as caught:
        parse(make(), 1)
    assert caught.value.field == field
    assert len(str(caught.value)) < 600


#: Lines after RULED or HEAD, where they are refused, a word of why or of the fix.
POLICIES: Mapping[str, tuple[str, str, str]] = {
    "an unknown section": (HEAD + "ruels: []\n", "ruels", "Did you mean rules?"),
    "an unknown word of a pool": (
        HEAD.replace("market: main", "market: main, mod: fair"),
        "pools[0].mod",
        "mean mode?",
    ),
    "an unknown word of rings": (HEAD.replace("unit: mi", "unit: mi, radi: [5]"), "pools[0].rings.radi", "mean radii?"),
    "a word of elsewhere": (
        HEAD.replace("market: main", "market: main, radii: [5]"),
        "pools[0].radii",
        "belongs elsewhere",
    ),
    "an unknown word of a rule": (
        RULED + "  - {name: a, wen: 'true', then: {review: x}}\n",
        "rules[0].wen",
        "mean when?",
    ),
    "no pool": (HEAD.replace("pools:\n  - {name", "pools: []\nx:\n  - {name"), "pools", ""),
    "a weight of nothing": (HEAD.replace("capacity: 5", "capacity: 5, weight: 0"), "default_tier.weight", ""),
    "a weight below nothing": (
        HEAD.replace("capacity: 5", "capacity: 5, weight: -1"),
        "default_tier.weight",
        "Give more than 0",
    ),
    "an endless weight": (HEAD.replace("capacity: 5", "capacity: 5, weight: 1.0e999"), "default_tier.weight", "inf"),
    "a weight that is no number": (
        HEAD.replace("capacity: 5", "capacity: 5, weight: !!float .nan"),
        "default_tier.weight",
        "nan",
    ),
    "a capacity below nothing": (HEAD.replace("capacity: 5", "capacity: -5"), "default_tier.capacity", ""),
    "a capacity of words": (HEAD.replace("capacity: 5", "capacity: five"), "default_tier.capacity", ""),
    "two rules of a name": (
        RULED + "  - {name: a, then: {review: x}}\n  - {name: a, then: {review: y}}\n",
        "rules[1].name",
        "twice",
    ),
    "rules without a default": (HEAD + "rules: [{name: a, then: {review: x}}]\n", "rules", "no default"),
    "a default that goes on": (HEAD + "default: {priority: 3}\n", "default", "default"),
    "a pool that is not there": (
        RULED + "  - {name: a, then: {pool: instalers}}\n",
        "rules[0].then.pool",
        "mean installers?",
    ),
    "two ways at once": (RULED + "  - {name: a, then: {pool: installers, review: x}}\n", "rules[0].then", "both"),
    "a rule that says nothing": (RULED + "  - {name: a, then: {}}\n", "rules[0]", "says nothing"),
    "an unknown fact": (
        RULED + "  - {name: a, when: lead.scor > 5.0, then: {review: x}}\n",
        "rules[0].when",
        "lead.score",
    ),
    "a wrong type": (
        RULED + "  - {name: a, when: 'lead.score == \"x\"', then: {review: x}}\n",
        "rules[0].when",
        "text",
    ),
    "no yes or no": (
        RULED + "  - {name: a, when: lead.score + 1.0, then: {review: x}}\n",
        "rules[0].when",
        "yes or no",
    ),
    "no condition": (RULED + "  - {name: a, when: 'lead.score >', then: {review: x}}\n", "rules[0].when", ""),
    "a condition that calls": (RULED + "  - {name: a, when: 'open(\"x\")', then: {review: x}}\n", "rules[0].when", ""),
    "a huge condition": (
        RULED + f"  - {{name: a, when: '{' || '.join(['lead.score > 5.0'] * 5000)}', then: {{review: x}}}}\n",
        "rules[0].when",
        "4,000",
    ),
    "a deep condition": (
        RULED + f"  - {{name: a, when: '{'(' * 1500}true{')' * 1500}', then: {{review: x}}}}\n",
        "rules[0].when",
        "",
    ),
    "a list in a list": (
        RULED
        + "  - {name: a, when: 'lead.languages.exists(x, lead.languages.exists(y, x == y))', then: {review: x}}\n",
        "rules[0].when",
        "within a list",
    ),
    "a bad pattern": (
        RULED + "  - {name: a, when: 'lead.product.matches(\"(\")', then: {review: x}}\n",
        "rules[0].when",
        "matches",
    ),
    "a pattern that multiplies": (
        RULED
        + "  - {name: a, when: 'lead.product.matches(\"((((a{100}){100}){100}){100}){100}\")', then: {review: x}}\n",
        "rules[0].when",
        "matches",
    ),
    "an unknown member attribute": (
        RULED + "  - {name: a, then: {pool: installers, skills: [{name: language, wanted: es}]}}\n",
        "rules[0].then.skills[0].name",
        "mean languages?",
    ),
    "a long word": (HEAD + "x" * 900 + ": 1\n", "x" * 57 + "...", "spelling"),
    "an attribute of no kind": (HEAD.replace("score: number", "score: float"), "attributes.lead.score", ""),
    "an attribute twice": (HEAD.replace("score: number", "score: number, country: text"), "attributes", "by itself"),
    "an example without a rule's fact kind": (
        RULED + "  - {name: a, then: {review: x}, examples: [{lead: 5}]}\n",
        "rules[0].examples[0].lead",
        "",
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_no_policy_is_refused_with_its_path_line_and_fix(name: str) -> None:
    text, field, why = POLICIES[name]
    with pytest.raises(BadInput) as caught:
        findings(policy_text.read(text, "p.yaml"))
    path, _, place = caught.value.field.partition(" (")
    assert path == field or path.startswith((f"{field} line", f"{field}."))
    assert why in str(caught.value)
    assert caught.value.fix
    assert place.startswith("p.yaml line") or field == "policy"
    assert len(str(caught.value)) < 900


TABLED = """
attributes: {lead: {product: text}}
tables:
  territory: {key: [lead.country, "lead.postal_code*"], columns: {owner: text, rate: number}, content: sha256:%s}
pools:
  - {name: installers, market: main, rings: {unit: mi, radii: [5, 15]}}
default_tier: {capacity: 5}
rules:
  - {name: owned, when: has(territory.owner), then: {owner: {table: territory, column: owner}}}
default: {pool: installers}
"""
GOOD_CSV = b"country,postal_code,owner,rate\nUS,94,m1,1.5\nUS,100,m2,\n"


def with_content(text: str, body: bytes) -> Any:
    digest = sha256(body).hexdigest()
    return parse(policy_text.read(text % digest, "p.yaml"), 1, contents={f"sha256:{digest}": body}.__getitem__)


def test_a_sound_table_is_read() -> None:
    assert with_content(TABLED, GOOD_CSV).rulebook is not None


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        (GOOD_CSV.replace(b"m1", b"m\xe9"), "line 2", "UTF-8"),
        (GOOD_CSV.decode().encode("utf-16"), "line 1", "UTF-8"),
        (GOOD_CSV.replace(b"m1", b"m\x00"), "line 2", "zero byte"),
        (b"", "line 1", "missing"),
        (GOOD_CSV.replace(b"owner,", b"ovner,"), "line 1", "owner is missing"),
        (GOOD_CSV.replace(b"rate", b"rate,rate"), "line 1", "twice"),
        (GOOD_CSV + b"us,94 ,m3,2\n", "line 4", ""),
        (GOOD_CSV + b"US\n", "line 4", "cells"),
        (GOOD_CSV + b"US,95,m3,much\n", "line 4", "number"),
        (GOOD_CSV + b"US,95,m3,nan\n", "line 4", "number"),
        (GOOD_CSV + b'US,"95,m3,2\n', "line 4", ""),
        (GOOD_CSV + b"US,95," + b"m" * 200_000 + b",2\n", "line 4", ""),
        (b"c," * 300_000 + b"country,postal_code,owner,rate\n", "line 1", "twice"),
        (GOOD_CSV + b"x" * 70_000_000, "territory.csv", ""),
        (GOOD_CSV.split(b"\n")[0], "territory.csv", "only headings"),
        (GOOD_CSV.replace(b",", b";"), "line 1", "not semicolons"),
        (GOOD_CSV.replace(b",", b"\t"), "line 1", "not tabs"),
    ],
)
def test_a_table_that_is_not_sound_is_refused_with_its_line(body: bytes, line: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        with_content(TABLED, body)
    assert line in caught.value.field
    assert why in str(caught.value)
    assert caught.value.fix
    assert len(str(caught.value)) < 600


MAPPED = """
areas: %s
pools:
  - {name: installers, market: main, rings: {unit: mi, radii: [5, 15]}}
default_tier: {capacity: 5}
rules:
  - {name: north, when: area.north, then: {review: x}}
default: {pool: installers}
"""


def square(west: float, south: float, size: float = 1.0) -> list[list[float]]:
    east, north = west + size, south + size
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def area(*rings: Any, kind: str = "Polygon") -> dict[str, Any]:
    return {"geojson": {"type": kind, "coordinates": list(rings)}}


@pytest.mark.parametrize(
    ("areas", "why"),
    [
        ({"north": area([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]])}, "self-intersection"),
        ({"north": area(square(0, 0)), "south": area(square(0.5, 0.5))}, "overlaps the area"),
        ({"north": area([square(0, 0)], [square(0.5, 0)], kind="MultiPolygon")}, "overlaps itself"),
        ({"north": area(square(0, 0)[:-1])}, ""),
        ({"north": area(square(0, 0)[:3])}, "points"),
        ({"north": area([[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]])}, "180th meridian"),
        ({"north": area(square(0, 0), square(3, 3, 0.5))}, "hole"),
        ({"north": area([[0, 0], [0, 95], [1, 95], [0, 0]])}, "not on earth"),
        ({"north": area([[0, 0], ["a", 1], [1, 1], [0, 0]])}, "no point"),
        ({"north": area([[0, 0], [0, 0], [0, 0], [0, 0]])}, ""),
        ({"north": area()}, "ring"),
        ({"north": area([[0, 0], [10**400, 1], [1, 1], [0, 0]])}, ""),
        (
            {"north": {"geojson": {**area(square(0, 0))["geojson"], "crs": {"properties": {"name": "EPSG:25832"}}}}},
            "WGS",
        ),
        ({"north": {"geojson": {"type": "Point", "coordinates": [0, 0]}}}, "no area"),
        ({"north": {"geojson": {}}}, "no area"),
        ({"north": {"geojson": {"type": []}}}, "no area"),
        ({"north": {"geojson": {"type": "Feature", "geometry": None}}}, "no area"),
        ({"north": {}}, "geojson"),
        ({"no rth": area(square(0, 0))}, ""),
    ],
)
def test_an_area_that_is_not_sound_is_refused_with_its_place(areas: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(policy_text.read(MAPPED % json.dumps(areas), "p.yaml"), 1)
    assert caught.value.field.startswith("areas")
    assert why in str(caught.value)
    assert caught.value.fix


NESTED = b'{"type": "GeometryCollection", "geometries": [' * 400 + b"]}" * 400


@pytest.mark.parametrize(
    "body", [b"[" * 500_000, b"{" * 100_000, b"\xff", b'{"type": "Polygon", "coordinates": NaN}', b"1", NESTED]
)
def test_a_file_that_is_no_area_is_refused(body: bytes) -> None:
    text = MAPPED.replace("%s", "{north: {content: sha256:%s}}")
    with pytest.raises(BadInput) as caught:
        with_content(text, body)
    assert "north" in caught.value.field


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*a){20}"])
def test_a_pattern_that_would_take_for_ever_elsewhere_is_asked_of_a_long_text_in_no_time(pattern: str) -> None:
    rule = f"  - {{name: a, when: 'lead.product.matches(\"{pattern}\")', then: {{review: x}}}}\n"
    book = parse(policy_text.read(RULED + rule, "p.yaml"), 1).rulebook
    assert book is not None
    when = book.rules[0].when
    assert when is not None
    assert when.holds({"lead.product": "a" * 20_000 + "!"}) in (True, False)


@pytest.mark.parametrize("content", [b"\xff\xfea\x00", "a: \xe9".encode("latin-1"), None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "p.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput):
        load_file(file)
    with pytest.raises(BadInput):
        load_file(tmp_path)


def test_a_file_without_end_is_refused_before_it_is_read_whole() -> None:
    with pytest.raises(BadInput, match="larger than"):
        load_file(Path("/dev/zero"))


HOSTILE = ["a billion laughs", "a billion merges", "deep lists", "one long line", "a long number"]


def _little() -> None:
    """A child that takes more than half a minute of a processor, or a gigabyte and a half, is stopped."""
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))


_ALONE = """
import sys
from pathlib import Path
from config import policy_text
from routing.errors import BadInput
try:
    policy_text.load(Path(sys.argv[1]))
except BadInput as exc:
    print("refused", exc)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_within_half_a_minute_and_little_memory(tmp_path: Path, name: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(TEXTS[name][0], "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(file)], capture_output=True, text=True, check=False, preexec_fn=_little
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refused")


AREA = "areas: {south: {geojson: {type: Polygon, coordinates: [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}}}\n"
TABLE = "tables: {t: {key: [lead.country], columns: {rank: whole}, rows: [{country: US, rank: three}]}}\n"


@pytest.mark.parametrize(
    ("text", "path", "place", "said"),
    [
        (
            RULED + "  - {name: a, when: lead.scor > 80, then: {review: a}}\n",
            "rules[0].when",
            (10, 15),
            "(line 1 column 1 of it)",
        ),
        (HEAD + AREA, "areas.south.geojson.coordinates", (8, 9), "self-intersection"),
        (HEAD + TABLE, "tables.t.rows[0]", (8, 10), "rank is 'three', not a whole number"),
    ],
)
def test_M1_programs_are_told_line_and_column_of_what_is_wrong_within(
    text: str, path: str, place: tuple[int, int], said: str
) -> None:
    with pytest.raises(BadInput) as refused:
        findings(policy_text.read(text, "a folder/policy.yaml"))
    found = unreadable(refused.value)
    assert (found.path, (found.line, found.column)) == (path, place)
    assert said in found.message

"""Rules, tables and areas of the policy document: what is made of them, and what is refused with its place."""

import random
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from config import policy_text
from config.policy import parse
from routing.course import Way
from routing.errors import BadInput

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEXT = """\
pools:
  - {name: installers, market: main, rings: {unit: mi, radii: [5]}}
  - {name: us, market: main, countries: [US], rings: {unit: mi, radii: [5]}}
default_tier: {capacity: 5}
attributes: {lead: {score: number, product: text}, member: {languages: list, level: whole}}
tables:
  territory:
    key: [lead.country, "lead.postal_code[:3]"]
    columns: {pool: text, owner: text}
    rows:
      - {country: US, postal_code: "941", pool: us, owner: ""}
      - {country: US, postal_code: "100", pool: us, owner: joe}
areas:
  north: {geojson: {type: Polygon, coordinates: [[[0,0],[1,0],[1,1],[0,1],[0,0]]]}}
rules:
  - {name: vip, when: 'lead.score > 90', then: {priority: 10, skills: [{name: languages, wanted: es}]}}
  - {name: named, when: territory.owner != "", then: {owner: {table: territory, column: owner}}}
  - {name: terr, then: {pool: {table: territory, column: pool}}}
  - {name: north, when: area.north, then: {hold: north}}
default: {pool: {by: country}}
"""


def sent(text: str, **facts: object) -> tuple[Way, str, str, int | None]:
    book = parse(policy_text.read(text, "policy.yaml"), 1).rulebook
    assert book is not None
    made = book.course({f"lead.{name}": value for name, value in facts.items()}, NOW)
    assert made is not None
    return made.way, made.rule, made.target or (made.pool.name if made.pool else ""), made.priority


def test_rules_tables_and_areas_are_made_as_written() -> None:
    assert sent(TEXT, country="US", postal_code="94110", score=91) == (Way.POOL, "terr", "us", 10)
    assert sent(TEXT, country="US", postal_code="10012") == (Way.OWNER, "named", "joe", None)
    assert sent(TEXT, country="DE", latitude=0.5, longitude=0.5) == (Way.HOLD, "north", "north", None)
    assert sent(TEXT, country="DE") == (Way.POOL, "default", "installers", None)


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ("lead.score > 90", "lead.scor > 90", "rules[0].when (policy.yaml line 16", "lead.score"),
        ("lead.score > 90", "lead.score > true", "column 12 of it", "number and flag"),
        ("column: pool}", "column: pol}", "rules[2].then.pool.column", "Did you mean pool"),
        ("{pool: {table: territory, column: pool}}", "{pool: instalers}", "rules[2].then.pool", "installers"),
        ("wanted: es", "wanted: 3", "rules[0].then.skills[0].wanted", "list"),
        ("name: languages", "name: language", "rules[0].then.skills[0].name", "languages"),
        ("pool: us, owner: joe", "pool: uz, owner: joe", "tables.territory, the row of us, 100", "no pool"),
        ('"100", pool', '"941", pool', "rows[1]", "twice"),
        ('"100", pool', '"10", pool', "rows[1]", "3 letters"),
        ("owner: joe", "ownr: joe", "rows[1]", "owner"),
        ("hold: north}", "hold: north, ignore: true}", "rules[3].then", "both hold and ignore"),
        ("area.north", "area.nort", "rules[3].when", "area.north"),
        ("postal_code[:3]", "postal_cod[:3]", "key[1]", "lead.postal_code"),
        ("[0,1],[0,0]", "[0,1]", "areas.north", "not closed"),
        ("{hold: north}", "{}", "rules[3]", "says nothing"),
        ("hold: north", "hold: {fact: lead.score}", "rules[3].then.hold", "number"),
        ("score: number", "for: number", "attributes", "CEL keeps this word"),
        ("score: number", "country: text", "attributes", "there by itself"),
    ],
)
def test_M1_a_mistake_is_refused_with_its_place(old: str, new: str, place: str, word: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput, match=word) as refused:
        parse(policy_text.read(TEXT.replace(old, new), "policy.yaml"), 1)
    assert place in refused.value.field


def test_M2_rules_without_a_default_are_refused() -> None:
    with pytest.raises(BadInput, match="there are rules and no default"):
        parse(policy_text.read(TEXT.replace("default: {pool: {by: country}}", ""), "policy.yaml"), 1)


def with_file(body: bytes) -> Mapping[str, Any]:
    document = deepcopy(dict(policy_text.read(TEXT, "policy.yaml")))
    document["tables"]["territory"] = {
        "key": ["lead.country", "lead.postal_code"],
        "columns": {"pool": "text", "owner": "text"},
        "content": "sha256:" + "0" * 64,
    }
    parse(document, 1, contents=lambda _: body)
    return document


@pytest.mark.parametrize(
    ("body", "place", "word"),
    [
        (b"country,postal_code,pool\nUS,1,us\n", "line 1", "owner is missing"),
        (b"country,postal_code,pool,owner\nUS,1,us,\nUS,1,us,\n", "line 3", "twice"),
        (b"country,postal_code,pool,owner\nUS,1,us\n", "line 2", "3 cells"),
        (b"country,postal_code,pool,owner\nUS,1,us,\nUS,\xff,us,\n", "line 3", "UTF-8"),
        (b'country,postal_code,pool,owner\nUS,1,us,"joe\n', "line 2", "end of data"),
        (b"country,postal_code,pool,owner\nUS,,us,\n", "line 2", "postal_code is empty"),
        (b"country,postal_code,pool,owner,color\nUS,1,us,,red\n", "line 1", "no column is called color"),
        (b"", "line 1", "country is missing"),
    ],
)
def test_a_wrong_file_of_a_table_is_refused_by_its_line(body: bytes, place: str, word: str) -> None:
    with pytest.raises(BadInput, match=word) as refused:
        with_file(body)
    assert refused.value.field == f"territory.csv {place}"


def test_M7_one_rule_and_a_table_of_100_000_rows_cost_a_lead_next_to_nothing() -> None:
    rows = "".join(f"US,{n:05},us,owner{n}\n" for n in range(100_000))
    document = with_file(b"country,postal_code,pool,owner\n" + rows.encode())
    book = parse(document, 1, contents=lambda _: b"country,postal_code,pool,owner\n" + rows.encode()).rulebook
    assert book is not None
    dice = random.Random(7)
    leads = [{"lead.country": "us", "lead.postal_code": f"{dice.randrange(100_000):05}"} for _ in range(400)]
    spent = []
    for lead in leads:
        began = time.process_time()
        made = book.course(lead, NOW)
        spent.append(time.process_time() - began)
        assert made is not None
        assert made.target == f"owner{int(lead['lead.postal_code'])}"
    assert sorted(spent)[int(len(spent) * 0.95)] < 0.005


SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]


@pytest.mark.parametrize(
    ("areas", "word"),
    [
        ({"a": [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]}, "self-intersection"),
        ({"a": [[0, 0], [1, 1], [1, 0]]}, "a ring of 3 points"),
        ({"a": [[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]}, "180th meridian"),
        ({"a": [[0, 91], [1, 1], [1, 0], [0, 91]]}, "not on earth"),
        (
            {"a": [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]], "b": [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]},
            "overlaps the area a",
        ),
    ],
)
def test_G8_an_area_that_is_not_sound_is_refused(areas: Mapping[str, Any], word: str) -> None:
    document = dict(policy_text.read(TEXT, "policy.yaml"))
    document["rules"] = []
    document["areas"] = {name: {"geojson": {"type": "Polygon", "coordinates": [ring]}} for name, ring in areas.items()}
    with pytest.raises(BadInput, match=word):
        parse(document, 1)


def test_G8_areas_that_only_touch_are_taken() -> None:
    squares = [[[x, 0], [x + 1, 0], [x + 1, 1], [x, 1], [x, 0]] for x in (0, 1)]
    document = dict(policy_text.read(TEXT, "policy.yaml"))
    document["rules"] = [{"name": f"r{n}", "when": f"area.a{n}", "then": {"hold": f"a{n}"}} for n in (0, 1)]
    document["areas"] = {
        f"a{n}": {"geojson": {"type": "Polygon", "coordinates": [ring]}} for n, ring in enumerate(squares)
    }
    book = parse(document, 1).rulebook
    assert book is not None
    made = book.course({"lead.country": "US", "lead.latitude": 0.5, "lead.longitude": 1}, NOW)
    assert made is not None
    assert made.target == "a1"

"""The policy document: what ships is sound, and what is wrong is named by its path with a fix (row G5)."""

import copy
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from config.policy import default_document, json_schema, load_file, parse
from routing.errors import BadInput
from routing.lead import Precision
from routing.policy import Mode, PoorPlace, Rings, Scope, Tier, Tiers

SMALL: dict[str, Any] = {
    "pools": [{"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [5, 15]}}],
    "tiers": [{"name": "gold", "weight": 1.25, "capacity": 7}],
    "default_tier": {"capacity": 5},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The small document with one value put in; the path is written as errors write it."""
    document = copy.deepcopy(SMALL)
    *way, last = [int(step) if step.isdigit() else step for step in path.replace("[", ".").replace("]", "").split(".")]
    part: Any = document
    for step in way:
        part = part[step]
    part[last] = value
    return document


def test_G5_the_default_policy_has_the_usual_rings_in_miles_and_others_where_people_count_kilometres() -> None:
    [pool] = parse(default_document(), 3).pools
    assert (pool.name, pool.market, pool.mode, pool.tiers) == ("installers", "main", Mode.FAIR, Tiers.BLENDED)
    assert pool.rings_for("US") == pool.rings_for("GB") == Rings("mi", (5, 15, 30, 50))
    assert {pool.rings_for(c) for c in ("AU", "DE", "NO", "BR")} == {Rings("km", (10, 25, 50, 80))}
    assert (pool.reassignments, pool.answer_within) == (3, timedelta(hours=4))


def test_the_default_policy_names_three_tiers_and_what_holds_for_others() -> None:
    policy = parse(default_document(), 3)
    assert policy.version == 3
    assert policy.tier("gold") == Tier("gold", 2, 10, 2000)
    assert [policy.tier(t).capacity for t in ("platinum", "gold", "silver", "bronze")] == [20, 10, 5, 5]
    assert (policy.tier("bronze").rank, policy.tier("bronze").weight) == (4, 1000)


def test_G4_the_default_policy_says_what_to_do_with_a_poor_place() -> None:
    [pool] = parse(default_document(), 1).pools
    assert pool.poor_places == {
        Precision.CITY: PoorPlace.CENTROID,
        Precision.REGION: PoorPlace.REVIEW,
        Precision.COUNTRY: PoorPlace.REVIEW,
    }


def test_every_country_has_a_pool_unless_the_policy_names_some() -> None:
    assert parse(default_document(), 1).pool_for("NA") is not None
    named = parse(changed("pools[0].countries", ["Deutschland", "AT"]), 1)
    assert named.pool_for("DE") is not None
    assert named.pool_for("FR") is None


def test_G5_rings_are_set_for_one_country_in_its_own_unit() -> None:
    rings = [{"countries": ["AU"], "unit": "km", "radii": [20, 100.5]}]
    [pool] = parse(changed("pools[0].rings_by_country", rings), 1).pools
    assert pool.rings_for("AU").metres == (20_000, 100_500)
    assert pool.rings_for("US").metres == (8_046.72, 24_140.16)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("pools[0].rings.radii", [15, 5], "pools[0].rings.radii"),
        ("pools[0].rings.radii", [5, 5], "pools[0].rings.radii"),
        ("pools[0].rings.radii", [0, 5], "pools[0].rings.radii"),
        ("pools[0].rings.radii", [float("nan")], "pools[0].rings.radii[0]"),
        ("pools[0].rings.radii", [float("inf")], "pools[0].rings.radii[0]"),
        ("pools[0].rings.radii", [], "pools[0].rings.radii"),
        ("pools[0].rings.radii", ["near"], "pools[0].rings.radii[0]"),
        ("pools[0].rings.radii", [13_000], "pools[0].rings"),
        ("pools[0].rings.unit", "furlong", "pools[0].rings.unit"),
        ("pools[0].rings.ring", 1, "pools[0].rings.ring"),
        ("pools[0].answers", {"ladder": [{"tiers": ["bronze"]}]}, "policy"),
        ("pools[0].answers", {"hours": {"zone": "Mars/Base", "mon": ["08:00-17:00"]}}, "pools[0].answers.hours.zone"),
        ("pools[0].answers", {"hours": {"zone": "UTC", "mon": ["08:00-08:01"]}}, "pools[0]"),
        (
            "pools[0].answers",
            {"work_within": "48h", "hours": {"zone": "UTC", "mon": ["08:00-08:30"]}},
            "pools[0].answers",
        ),
        ("pools[0].name", "Has Spaces", "pools[0].name"),
        ("pools[0].market", "a{b}", "pools[0].market"),
        ("pools[0].market", None, "pools[0].market"),
        ("pools[0].mode", "unfair", "pools[0].mode"),
        ("pools[0].scope", "shared", "pools[0]"),
        ("pools[0].rotation", "all", "pools[0]"),
        ("pools[0].countries", ["Elbonia"], "pools[0].countries[0]"),
        ("pools[0].countries", [False], "pools[0].countries[0]"),
        ("pools[0].countries", ["US", "USA"], "pools"),
        ("pools[0].answer_within", "soon", "pools[0].answer_within"),
        ("pools[0].answer_within", 4, "pools[0].answer_within"),
        ("pools[0].answer_within", "0h", "pools[0].answer_within"),
        ("pools[0].reassignments", -1, "pools[0].reassignments"),
        ("pools[0].reassignments", True, "pools[0].reassignments"),
        ("pools[0].poor_places", {"exact": "review"}, "pools[0].poor_places.exact"),
        ("pools[0].poor_places", {"city": "guess"}, "pools[0].poor_places.city"),
        ("pools", [], "pools"),
        ("pools", [SMALL["pools"][0]] * 2, "pools[1].name"),
        ("tiers[0].weight", 0, "tiers[0].weight"),
        ("tiers[0].weight", 1.2345, "tiers[0].weight"),
        ("tiers[0].weight", "2", "tiers[0].weight"),
        ("tiers[0].capacity", -1, "tiers[0].capacity"),
        ("tiers[0].capacity", 2.5, "tiers[0].capacity"),
        ("tiers", [SMALL["tiers"][0], SMALL["tiers"][0] | {"name": "Gold"}], "tiers[1].name"),
        ("default_tier", {}, "default_tier.capacity"),
        ("rulez", [], "rulez"),
    ],
)
def test_a_wrong_value_is_one_error_with_its_path_and_a_fix(path: str, value: object, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(changed(path, value), 1)
    assert caught.value.field == field
    assert caught.value.fix
    assert str(caught.value).startswith(f"{caught.value.field}: ")
    assert not re.search(
        r"Input should|valid (integer|string)|Field required|match pattern|permitted", str(caught.value)
    )


def test_two_pools_that_take_every_country_are_refused() -> None:
    second = SMALL["pools"][0] | {"name": "others"}
    with pytest.raises(BadInput, match="two pools take every country"):
        parse(changed("pools", [SMALL["pools"][0], second]), 1)


def test_what_is_left_out_takes_its_default() -> None:
    policy = parse(SMALL, 1)
    assert policy.tier("gold") == Tier("gold", 1, 7, 1250)
    assert (policy.pools[0].mode, policy.pools[0].scope, policy.pools[0].rotation) == (Mode.FAIR, Scope.POOL, "")


def test_a_length_of_time_may_be_put_together() -> None:
    assert parse(changed("pools[0].answer_within", "1d12h"), 1).pools[0].answer_within == timedelta(hours=36)


def test_the_default_document_is_json_and_keeps_to_its_own_schema() -> None:
    document = json.loads(json.dumps(default_document()))
    jsonschema.validate(document, json_schema())
    assert parse(document, 1) == parse(default_document(), 1)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed("pools[0].ring", 1), json_schema())


def test_a_file_is_read_without_the_traps_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("a: [NO, yes, on, 12:30, 2026-01-01, 010, 1_000]\nb: [true, 1, 1.5, null, ~]\n")
    assert load_file(tmp_path / "p.yaml") == {
        "a": ["NO", "yes", "on", "12:30", "2026-01-01", "010", "1_000"],
        "b": [True, 1, 1.5, None, None],
    }


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"pools: [\n", "p.yaml line 2"),
        (b"pools: 1\npools: 2\n", "p.yaml line 2"),
        (b"- 1\n", "p.yaml"),
        (b"", "p.yaml"),
        (b"a: \xff\n", "p.yaml line 1"),
        (b"a: !!python/object:os.system {}\n", "p.yaml line 1"),
        (None, "policy file"),
    ],
)
def test_a_file_that_holds_no_document_is_refused_with_the_place(
    tmp_path: Path, content: bytes | None, field: str
) -> None:
    if content is not None:
        (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        load_file(tmp_path / "p.yaml")
    assert caught.value.field.endswith(field)

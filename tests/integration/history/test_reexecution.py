"""Every decision made again from what was kept of it: the same bytes, here and on another machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config import policy as policy_file
from routing.decision import Gate
from routing.errors import BadInput
from routing.lead import Point
from routing.reexecute import contents_of
from storage.postgres.contents import digest_of
from storage.postgres.members import MemberRow
from storage.postgres.reexecution import Again, Reexecution
from tests.integration.routing.house import House, document


def _again(house: House, **which: Any) -> list[Again]:
    return list(Reexecution(house.engine, policy_file.parse).run(**which))


def _all_the_same(house: House) -> int:
    found = _again(house)
    assert [(one.lead, one.remade.differences) for one in found if not one.remade.same] == []
    return len(found)


def _town(house: House) -> None:
    """Members around, some far, some of another tier, one with two branches."""
    for n in range(8):
        house.member(f"m{n}", 40.0 + n * 0.07, -75.0 - n * 0.03, tier="gold" if n % 3 == 0 else "", capacity=1 + n % 2)


def _life(house: House, name: str = "lead") -> None:
    """Leads that are offered, refused, wait for room, and are offered again after others changed."""
    leads = [house.lead(f"{name}-{n}", 40.0 + n * 0.06, -75.0 - n * 0.03) for n in range(5)]
    house.work()
    house.member("m1", 40.3, -75.2, capacity=3 + len(name))
    house.overdue(*leads[:2])
    house.tick()
    house.lead(f"{name}-far", 10.0, 10.0)
    house.work()


POOLS: dict[str, dict[str, Any]] = {
    "fair": {},
    "cursor": {"mode": "cursor"},
    "nearest": {"mode": "nearest", "scope": "pool_ring"},
    "ranked": {"mode": "least_loaded", "tiers": "ranked"},
    "several": {"mode": "least_recent", "answers": {"fan_out": 3}},
    "ladder": {"answers": {"ladder": [{"tiers": ["gold"], "rings": 2}, {}], "again_when_exhausted": True}},
    "weighted": {"mode": "weighted_by_distance", "turns": {"reset": "monthly"}},
}


def test_N4_every_decision_comes_out_byte_for_byte_when_it_is_made_again(house: House) -> None:
    _town(house)
    for name, pool in POOLS.items():
        house.publish(**pool)
        _life(house, name)
    assert _all_the_same(house) >= 6 * len(POOLS)
    assert house.value("SELECT count(DISTINCT policy_version) FROM decisions") == len(POOLS)
    assert house.value("SELECT count(DISTINCT reason) FROM decisions") > 1


def test_N4_rules_skills_conditions_and_limits_come_out_the_same(house: House) -> None:
    pool = {
        "limits": [{"of": "member", "most": 2, "per": "day"}],
        "conditions": [{"name": "large", "when": "lead.kw < 50.0 || member.commercial >= 5.0"}],
        "relax": [{"after": "1h", "drop": "lowest"}],
    }
    rules = [
        {"name": "large", "when": "lead.kw > 20.0", "then": {"units": 2, "priority": 3}},
        {
            "name": "spanish",
            "when": 'lead.language == "es"',
            "then": {"pool": "installers", "skills": [{"name": "languages", "wanted": "es"}]},
        },
    ]
    attributes = {"lead": {"language": "text", "kw": "number"}, "member": {"languages": "list", "commercial": "number"}}
    made = document(**pool) | {"rules": rules, "attributes": attributes, "default": {"pool": "installers"}}
    house.publish_document(made)
    house.member("speaks", attributes={"languages": ["en", "es"], "commercial": 4})
    house.member("builds", 40.01, attributes={"languages": ["en"], "commercial": 9})
    house.member("both", 40.02, attributes={"languages": ["es"], "commercial": 5}, capacity=3)
    for n, (language, kw) in enumerate(
        [("es", 5.0), ("en", 80.0), ("es", 60.0), ("en", 30.0), ("es", 2.0), ("es", 1.0)]
    ):
        house.lead(f"lead-{n}", attributes={"language": language, "kw": kw})
    house.work()
    assert _all_the_same(house) >= 6
    gates = {gate for row in house.rows("SELECT gate FROM decisions") for gate in row.gate}
    assert {Gate.ELIGIBLE, Gate.SKILL, Gate.CONDITION, Gate.QUOTA} <= gates
    assert house.value("SELECT count(*) FROM decisions WHERE units = 2") >= 2


def test_N4_leads_that_went_on_to_another_market_or_to_a_named_owner_come_out_the_same(house: House) -> None:
    installers = document()["pools"][0]
    pools = [
        installers | {"name": "one", "overflow": {"pool": "two"}},
        installers | {"name": "two", "market": "other", "overflow": {"pool": "three"}},
        installers | {"name": "three", "mode": "nearest", "tiers": "ranked"},
    ]
    rules = [
        {"name": "known", "when": 'lead.kind == "known"', "then": {"owner": "boss"}},
        {"name": "later", "when": 'lead.kind == "later"', "then": {"hold": "later"}},
        {"name": "hot", "when": 'lead.kind == "hot"', "then": {"hot": True, "priority": 50}},
        {"name": "friend", "when": 'lead.kind == "friend"', "then": {"pool": "one", "preferred": "b"}},
    ]
    made = document() | {"pools": pools, "rules": rules, "default": {"pool": "one"}}
    house.publish_document(made | {"attributes": {"lead": {"kind": "text"}}})
    house.member("a", capacity=1)
    house.member("b", 40.01, capacity=2)
    house.member("boss", 45.0, capacity=0)
    for key, lat in (("c", 40.02), ("d", 40.03)):
        there = MemberRow(key=key, name=key, market="other", places=(Point(lat, -75.0),), capacity=2)
        house.members.upsert([there], actor="test")
    kinds = ["known", "later", "hot", "friend", "friend", "", "", "", "", "", "", "known"]
    leads = [house.lead(f"lead-{n}", attributes={"kind": kind}) for n, kind in enumerate(kinds)]
    house.work()
    house.overdue(*leads[2:5])
    house.tick()
    house.tick()
    assert _all_the_same(house) >= 12
    seen = {(row.pool, row.market) for row in house.rows("SELECT pool, market FROM decisions")}
    assert seen == {("one", "main"), ("two", "other"), ("three", "main")}

    again = Reexecution(house.engine, policy_file.parse)
    assert [one.remade.same for one in again.gifts()] == [True, True]
    assert [one.lead for one in again.gifts(lead=leads[0])] == [leads[0]]
    assert again.by_people() == {}
    house.run(
        "SET session_replication_role = replica; UPDATE timeline SET detail = jsonb_set(detail, '{facts,lead.kind}', "
        """'"hot"') WHERE detail->>'kind' = 'owner'; RESET session_replication_role"""
    )
    (one, _) = again.gifts()
    assert one.remade.differences == ("it would not be given to an owner, but go by rule default: pool",)
    house.run(
        "SET session_replication_role = replica; "
        "UPDATE timeline SET detail = jsonb_set(detail, '{kind}', '\"manual\"') "
        "WHERE detail->>'kind' = 'owner'; RESET session_replication_role"
    )
    assert (list(again.gifts()), again.by_people()) == ([], {"manual": 2})


def test_N4_what_was_changed_afterwards_is_shown(house: House) -> None:
    _town(house)
    _life(house)
    one, other = house.rows("SELECT id, chosen, lead_id FROM decisions WHERE chosen IS NOT NULL ORDER BY seq LIMIT 2")
    house.run("ALTER TABLE decisions DISABLE TRIGGER USER")
    house.run(
        "UPDATE decisions SET distance_m[1] = distance_m[1] + 1000, standing[1] = 5000000 WHERE id = :id",
        id=one.id,
    )
    found = {again.decision: again.remade for again in _again(house)}
    assert not found[one.id].same
    assert any("distance_m: was" in told for told in found[one.id].differences)
    assert found[other.id].same
    assert {again.lead for again in _again(house, lead=other.lead_id)} == {other.lead_id}
    assert len(_again(house, sample=5)) == 5


def test_N4_a_distance_on_the_edge_of_its_rounding_is_told_as_that(house: House) -> None:
    _town(house)
    house.lead("lead-1")
    house.work()
    house.run(
        "SET session_replication_role = replica; UPDATE decisions SET distance_m[1] = distance_m[1] + 0.1; "
        "RESET session_replication_role"
    )
    (only,) = _again(house)
    assert not only.remade.same
    assert "edge of rounding" in only.remade.differences[0]


TERRITORY = b"country,postal_code,pool,rank\nUS,190,small,3\nUS,191,large,1\n"
NORTH = b'{"type": "Polygon", "coordinates": [[[-76, 40.1], [-74, 40.1], [-74, 41], [-76, 41], [-76, 40.1]]]}'
EVERY_DAY = {day: ["00:00-24:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}


def _everything() -> dict[str, Any]:
    """A policy with every section that a decision may rest on."""
    base = document()["pools"][0]
    small = base | {
        "name": "small",
        "limits": [{"of": "member", "most": 3, "per": "day"}, {"share": 60, "per": "7d", "from": 3}],
        "certificates": [{"name": "nabcep", "until": "member.nabcep_until"}],
        "conditions": [{"name": "large", "when": "lead.kw < 100.0 || member.commercial >= 5.0"}],
        "working_hours": {"zone": "Asia/Kathmandu", **EVERY_DAY},
        "service_areas": True,
        "relax": [{"after": "1h", "drop": "lowest"}, {"after": "2h", "rings": 1}],
        "overflow": {"pool": "large"},
        "turns": {
            "reset": "monthly",
            "zone": "Pacific/Apia",
            "ramp": [{"days": 14, "percent": 50}],
            "absence": {"catch_up": 10},
            "minimum": {"leads": 9, "per": "month", "boost": 1.5},
        },
        "fairness": {"unit": "value", "value": "lead.amount", "worth": 1000, "most": 5},
    }
    large = base | {"name": "large", "tiers": "ranked", "scope": "pool_ring", "answers": {"fan_out": 2}}
    large["turns"] = {"reset": {"rolling": "7d"}}
    spanish = {"name": "languages", "wanted": {"fact": "lead.language"}, "drop_after": "30m"}
    rules = [
        {"name": "known", "when": 'lead.language == "xx"', "then": {"owner": "m2"}},
        {"name": "named", "when": "lead.kw > 400.0", "then": {"wait": {"facts": ["lead.amount"], "up_to": "1m"}}},
        {"name": "north", "when": "area.north && lead.kw > 10.0", "then": {"priority": 7, "best_first": True}},
        {"name": "speaks", "when": 'lead.language != ""', "then": {"skills": [spanish], "preferred": "m1"}},
        {
            "name": "by-table",
            "when": "territory.rank < 9",
            "then": {"pool": {"table": "territory", "column": "pool"}, "units": 2},
        },
    ]
    return document() | {
        "attributes": {
            "lead": {"language": "text", "kw": "number", "amount": "number"},
            "member": {"languages": "list", "commercial": "number", "nabcep_until": "date"},
        },
        "tables": {
            "territory": {
                "key": ["lead.country", "lead.postal_code[:3]"],
                "columns": {"pool": "text", "rank": "whole"},
                "content": digest_of(TERRITORY),
            }
        },
        "areas": {"north": {"content": digest_of(NORTH)}},
        "rules": rules,
        "default": {"pool": "small"},
        "priority": {
            "points": [
                {"name": "value", "fact": "lead.amount", "times": 0.01},
                {"name": "old", "when": "lead.age_hours > 1.0", "points": 3},
            ],
            "ageing": {"point_every": "1h", "longest_wait": "2d"},
            "best": {"percent": 20},
        },
        "giving": {"accept": False},
        "limits": [
            {"name": "daily", "of": "member", "most": 2, "per": "day"},
            {"of": "network", "most": 30, "per": "week"},
        ],
        "pools": [small, large],
    }


_ELSEWHERE = """
import json, sys
from config import policy
from routing.reexecute import contents_of, remake_bundle
for line in open(sys.argv[1], encoding="utf-8"):
    bundle = json.loads(line)
    kept = contents_of(bundle)
    remade = remake_bundle(bundle, lambda document, version: policy.parse(document, version, contents=kept))
    assert remade.same, remade.differences
    sys.stdout.buffer.write(remade.again + b"\\n")
"""


@pytest.mark.long
def test_N4_every_section_of_a_policy_and_on_another_machine_without_any_server(house: House, tmp_path: Path) -> None:
    house.files |= {digest_of(one): one for one in (TERRITORY, NORTH)}
    house.publish_document(_everything())
    for n in range(7):
        attributes = {
            "languages": ["es"] if n % 2 else ["en"],
            "commercial": n,
            "nabcep_until": "2020-01-01" if n == 3 else "2099-12-31",
        }
        house.member(
            f"m{n}", 40.0 + n * 0.04, -75.0, attributes=attributes, tier="gold" if n % 3 == 0 else "", capacity=3
        )
    leads = [
        house.lead(
            f"lead-{n}",
            40.0 + n * 0.02,
            attributes={
                "language": ("", "es", "en", "xx")[n % 4],
                "kw": (5.0, 60.0, 150.0, 500.0)[n % 3],
                "amount": 900.0 * n,
            },
            postal_code=("19012", "19112", "80012")[n % 3],
        )
        for n in range(14)
    ]
    house.work()
    house.overdue(*leads[:4])
    house.tick()
    again = Reexecution(house.engine, house.parse)
    found = list(again.run())
    assert [(one.lead, one.remade.differences) for one in found if not one.remade.same] == []
    assert all(one.remade.same for one in again.gifts())
    gates = {gate for row in house.rows("SELECT gate FROM decisions") for gate in row.gate}
    assert {Gate.ELIGIBLE, Gate.SKILL, Gate.CERTIFICATE, Gate.CONDITION, Gate.QUOTA} <= gates
    assert {row.pool for row in house.rows("SELECT DISTINCT pool FROM decisions")} == {"small", "large"}

    bundles = [again.bundle(one.decision, house.files.__getitem__) for one in found]
    file = tmp_path / "bundles.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in bundles), "utf-8")
    here = b"".join(one.remade.stored + b"\n" for one in found)
    root = Path(__file__).parents[3]
    for seed, zone in (("0", "Asia/Kolkata"), ("4242", "America/St_Johns")):
        home = tmp_path / seed
        home.mkdir()
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": os.environ["PATH"], "TZ": zone}
        there = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, str(file)],
            env=env | {"HOME": str(home), "LANG": "C", "LC_ALL": "C"},
            cwd=home,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert there.stderr == b""
        assert there.stdout == here
    changed = json.loads(json.dumps(bundles[0]))
    changed["contents"] = dict.fromkeys(changed["contents"], "AAAA")
    with pytest.raises(BadInput, match="is not what its digest says"):
        contents_of(changed)

"""One lead tried out: the same as live, and nothing written anywhere."""

import hashlib
from dataclasses import replace

import pytest
import redis
import sqlalchemy as sa

from config import policy as policy_file
from routing.errors import BadInput, GiveUp
from routing.lead import Lead, Point, Precision
from routing.simulation.rehearsal import rehearse
from storage.postgres.rehearsing import Rehearsing, read_only
from storage.redis.audit import TurnstileAudit
from tests.integration.routing.house import House
from tests.integration.simulation.history import KINDS, Town, ruled


def trials(house: House) -> Rehearsing:
    return Rehearsing(house.engine, house.ledger.published, TurnstileAudit(house.redis_url).look)


def everything(house: House) -> dict[str, str]:
    """What Postgres and Redis hold, table by table and key by key."""
    held: dict[str, str] = {}
    tables = house.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    for (table,) in tables:
        rows = house.rows(f"SELECT coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') FROM \"{table}\" t")  # noqa: S608 - a table's name
        held[table] = rows[0][0]
    for name, value in house.rows("SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences ORDER BY 1"):
        held[name] = str(value)
    with redis.Redis.from_url(house.redis_url) as client:
        for number in range(4):
            client.select(number)
            for key in sorted(client.keys("*")):
                held[f"{number} {key!r}"] = hashlib.sha256(client.dump(key) or b"").hexdigest()
    return held


def test_W1_a_trial_says_what_live_does_then_and_writes_nothing_anywhere(house: House) -> None:
    town = Town(house, seed=5)
    town.settle(6, answer_within="2h")
    town.arrive(6)
    for number in range(8):
        town.arrive(1)
        if number == 4:
            town.answer()
        lat, lon = town._place()
        lead = house.lead(f"00QTRY{number:09d}AAA", lat, lon)
        before = everything(house)
        tried = rehearse(trials(house).of_lead(str(lead)))
        assert everything(house) == before
        house.work()
        state, reason = house.state(lead)
        assert tried.outcome == state
        assert tried.member == house.holder(lead)
        decided = house.rows("SELECT * FROM decisions WHERE lead_id = :lead ORDER BY seq", lead=lead)[-1]
        told = tried.explanations[0]
        assert told["chosen"] == decided.chosen
        assert [c["member"] for c in told["candidates"]] == decided.member
        assert [c["standing"] for c in told["candidates"]] == decided.standing
        assert [c["open"] for c in told["candidates"]] == decided.open
        if decided.chosen is None:
            assert (tried.outcome, tried.reason) == ("waiting", reason)


def test_W1_a_trial_under_rules_and_limits_says_what_live_does_then(house: House) -> None:
    town = Town(house, seed=6)
    town.settle(6)
    house.publish_document(ruled(answer_within="2h"))
    house.run("UPDATE members SET auto_accept = true WHERE key = 'm2'")
    for facts in KINDS * 3:  # places and quotas run out on the way
        lead = town.lead(**facts)
        before = everything(house)
        tried = rehearse(trials(house).of_lead(str(lead)))
        assert everything(house) == before
        house.work()
        state, reason = house.state(lead)
        rule = house.value("SELECT rule FROM leads WHERE id = :lead", lead=lead)
        assert (tried.outcome, tried.member, tried.rule) == (state, house.holder(lead), rule)
        if reason is not None:
            assert tried.reason == reason


def test_W1_a_trial_cannot_write_even_if_it_wanted_to(house: House) -> None:
    house.publish_document(policy_file.default_document())
    with pytest.raises((GiveUp, sa.exc.DBAPIError)), read_only(house.engine) as connection:
        connection.execute(sa.text("INSERT INTO audit (actor, action) VALUES ('somebody', 'wrote')"))
    assert house.value("SELECT count(*) FROM audit WHERE actor = 'somebody'") == 0


def test_a_lead_that_nobody_sent_is_tried_by_its_facts(house: House) -> None:
    town = Town(house)
    town.settle(4)
    near = house.rows("SELECT lat, lon FROM places ORDER BY member_id LIMIT 1")[0]
    made = Lead(0, town.begun, "US", Point(near.lat, near.lon), Precision.EXACT)
    before = everything(house)
    tried = rehearse(trials(house).of_facts(made))
    assert everything(house) == before
    assert tried.outcome == "offered"
    assert tried.explanations[0]["candidates"]


def test_a_lead_that_is_offered_is_tried_as_if_the_offer_had_come_to_nothing(house: House) -> None:
    town = Town(house)
    town.settle(8)
    town.arrive(1)
    lead = house.value("SELECT max(id) FROM leads")
    holder = house.holder(lead)
    tried = rehearse(trials(house).of_lead(str(lead)))
    assert tried.note.startswith("The lead is offered now")
    assert tried.member != holder


def test_a_trial_under_a_draft_follows_the_draft(house: House) -> None:
    town = Town(house)
    town.settle(5)
    lead = house.lead("00QDRAFT0000001AAA", 40.0, -75.0)
    live = trials(house)
    narrow = policy_file.parse(
        {
            "pools": [{"name": "installers", "market": "main", "rings": {"unit": "mi", "radii": [0.001]}}],
            "default_tier": {"capacity": 1},
        },
        0,
    )
    draft = Rehearsing(house.engine, lambda: replace(narrow, version=0), TurnstileAudit(house.redis_url).look)
    assert rehearse(live.of_lead(str(lead))).outcome == "offered"
    assert rehearse(draft.of_lead(str(lead))).reason == "no_partner_in_range"


def test_a_lead_that_is_not_known_is_named(house: House) -> None:
    house.publish_document(policy_file.default_document())
    with pytest.raises(BadInput, match="no lead is known as 'nonsense'"):
        trials(house).of_lead("nonsense")

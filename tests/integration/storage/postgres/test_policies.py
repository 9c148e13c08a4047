import sqlalchemy as sa

from routing.policy import Tier
from storage.postgres.audit import Audit
from storage.postgres.engine import transaction
from storage.postgres.members import MemberRow, Members
from storage.postgres.policies import Policies
from storage.postgres.tables import pools, tiers

GOLD, DEFAULT = Tier("gold", 2, 10), Tier("standard", 9, 3, 500)
POOLS = [("installers-us", "us", "fair"), ("installers-au", "au", "nearest")]


def publish(engine: sa.Engine, document: dict[str, object], gold: Tier = GOLD) -> int:
    return Policies(engine).publish(document, [gold], DEFAULT, POOLS, actor="cli", note="first")


def test_C2_a_published_policy_is_in_force_with_its_tiers_and_pools(engine: sa.Engine) -> None:
    assert Policies(engine).current() is None
    assert publish(engine, {"tiers": {"gold": 10}}) == 1
    assert Policies(engine).current() == (1, {"tiers": {"gold": 10}})
    with transaction(engine) as connection:
        rows = connection.execute(sa.select(tiers.c.name, tiers.c.capacity, tiers.c.weight).order_by(tiers.c.name))
        assert rows.all() == [("", 3, 500), ("gold", 10, 1000)]
        assert connection.execute(sa.select(pools.c.name).order_by(pools.c.name)).scalars().all() == [
            "installers-au",
            "installers-us",
        ]


def test_the_document_in_force_published_again_changes_nothing(engine: sa.Engine) -> None:
    publish(engine, {"a": 1})
    before, entries = Members(engine).versions(), len(Audit(engine).latest())
    assert publish(engine, {"a": 1}) == 1
    assert (Members(engine).versions(), len(Audit(engine).latest())) == (before, entries)


def test_a_new_document_retires_the_old_one_and_counts_every_roster_anew(engine: sa.Engine) -> None:
    Members(engine).upsert([MemberRow(key="a", name="A", market="nz")], actor="cli")
    publish(engine, {"a": 1})
    before = Members(engine).versions()
    assert publish(engine, {"a": 2}, Tier("gold", 2, 12)) == 2
    after = Members(engine).versions()
    assert after == {market: version + 1 for market, version in before.items()}
    assert Policies(engine).get(1) == {"a": 1}
    assert Policies(engine).get(3) is None
    assert Policies(engine).current() == (2, {"a": 2})


def test_an_old_document_published_again_is_a_new_version(engine: sa.Engine) -> None:
    assert [publish(engine, {"a": 1}), publish(engine, {"a": 2}), publish(engine, {"a": 1})] == [1, 2, 3]

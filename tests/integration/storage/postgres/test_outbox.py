import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from routing.change import Delivery, Outcome, Written
from storage.postgres.engine import transaction
from storage.postgres.outbox import Outbox
from storage.postgres.tables import leads, outbox, parked
from storage.postgres.timeline import Timeline
from tests.integration.storage.postgres import rows


def queued_leads(engine: sa.Engine, count: int) -> list[int]:
    with transaction(engine) as connection:
        made = [rows.add_lead(connection, n, state="waiting", reason="no_room") for n in range(count)]
        for lead in made:
            rows.queue(connection, "salesforce", lead, 1)
    return made


def results(deliveries: Sequence[Delivery], outcome: Outcome, code: str = "") -> list[tuple[Delivery, Written]]:
    return [(one, Written(one.write.lead_id, outcome, code, "told so" if code else "")) for one in deliveries]


def states(engine: sa.Engine) -> list[str]:
    with transaction(engine) as connection:
        return list(connection.scalars(sa.select(outbox.c.state).order_by(outbox.c.id)))


def let_leases_run_out(engine: sa.Engine) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    with transaction(engine) as connection:
        connection.execute(sa.update(outbox).values(lease_until=past, due_at=past))


def long_waited(engine: sa.Engine) -> None:
    """Let everything have been due so long that it waits for no other call."""
    with transaction(engine) as connection:
        connection.execute(sa.update(outbox).values(due_at=datetime.now(UTC) - timedelta(minutes=1)))


def test_E1_salesforce_is_told_everything_about_an_offered_lead(engine: sa.Engine) -> None:
    version = rows.publish(engine)
    (member,) = rows.add_members(engine, 1, salesforce_id="001000000000001AAA")
    with transaction(engine) as connection:
        lead = rows.add_lead(connection, 1, received_at=datetime.now(UTC) - timedelta(seconds=2))
        made = rows.decision(lead, member, [rows.weighed(member)], seq=1, policy_version=version)
        rows.add_decisions(connection, [made])
        rows.add_offer(connection, made)
    (delivery,) = Outbox(engine).claim_writes()
    write = delivery.write
    assert (write.state, write.attempt, write.version, write.policy_version) == ("offered", 1, 2, version)
    assert (write.member_key, write.member_salesforce_id, write.reason) == ("us-1", "001000000000001AAA", None)
    assert (round(write.distance_m or 0, 1), write.ring_m, write.offered_at) == (1609.3, 8046.72, made.at)
    Outbox(engine).finish(results([delivery], Outcome.DONE), task_id="task-1")
    step = Timeline(engine).of(lead)[-1]
    assert (step.what, step.task_id, step.policy_version) == ("written", "task-1", version)
    assert 2000 <= step.detail["since_received_ms"] < 60_000


def test_a_waiting_lead_is_told_with_its_reason_and_the_policy_that_found_nobody(engine: sa.Engine) -> None:
    (member,) = rows.add_members(engine, 1)
    (lead,) = queued_leads(engine, 1)
    with transaction(engine) as connection:
        rows.add_decisions(connection, [rows.decision(lead, None, [rows.weighed(member)], seq=1, policy_version=7)])
    (delivery,) = Outbox(engine).claim_writes()
    write = delivery.write
    assert (write.state, write.reason, write.member_key, write.policy_version) == ("waiting", "no_room", None, 7)


def test_of_a_leads_versions_only_the_newest_is_sent(engine: sa.Engine) -> None:
    (lead,) = queued_leads(engine, 1)
    with transaction(engine) as connection:
        connection.execute(sa.update(leads).values(version=3))
        for version in (2, 3):
            rows.queue(connection, "salesforce", lead, version)
    deliveries = Outbox(engine).claim_writes()
    assert [one.write.version for one in deliveries] == [3]
    assert states(engine) == ["superseded", "superseded", "pending"]


def test_a_lead_has_one_write_in_flight(engine: sa.Engine) -> None:
    (lead,) = queued_leads(engine, 1)
    box = Outbox(engine)
    first = box.claim_writes()
    with transaction(engine) as connection:
        connection.execute(sa.update(leads).values(version=2))
        rows.queue(connection, "salesforce", lead, 2)
    assert box.claim_writes() == []
    box.finish(results(first, Outcome.DONE))
    (second,) = box.claim_writes()
    assert second.write.version == 2


def test_a_write_that_told_the_newest_state_makes_queued_ones_needless(engine: sa.Engine) -> None:
    (lead,) = queued_leads(engine, 1)
    box = Outbox(engine)
    first = box.claim_writes()
    with transaction(engine) as connection:
        rows.queue(connection, "salesforce", lead, 1)
    box.finish(results(first, Outcome.DONE))
    assert states(engine) == ["done", "superseded"]


def test_one_refused_record_of_many_touches_no_other(engine: sa.Engine) -> None:
    made = queued_leads(engine, 5)
    box = Outbox(engine)
    one, two, three, *rest = box.claim_writes()
    gone = box.finish(
        [
            *results([one], Outcome.PARK, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
            *results([two], Outcome.RETRY, "UNABLE_TO_LOCK_ROW"),
            *results([three], Outcome.GONE, "ENTITY_IS_DELETED"),
            *results(rest, Outcome.DONE),
        ],
        task_id="task-2",
    )
    assert gone == [made[2]]
    assert states(engine) == ["parked", "pending", "done", "done", "done"]
    with transaction(engine) as connection:
        row = connection.execute(sa.select(parked)).one()
        errors = connection.scalars(sa.select(outbox.c.error).order_by(outbox.c.id)).all()
    assert (row.kind, row.ref, row.input["lead_id"]) == ("outbox", str(one.outbox_id), made[0])
    assert errors[1] == "UNABLE_TO_LOCK_ROW: told so"
    assert [step.what for step in Timeline(engine).of(made[0])] == ["write parked"]


def test_a_parked_write_can_be_tried_again(engine: sa.Engine) -> None:
    queued_leads(engine, 1)
    box = Outbox(engine)
    for _ in range(2):
        deliveries = box.claim_writes()
        assert len(deliveries) == 1
        box.finish(results(deliveries, Outcome.PARK, "NO"))
        assert box.claim_writes() == []
        assert box.replay([deliveries[0].outbox_id]) == 1


def test_waits_double_up_to_a_minute_and_never_meet(engine: sa.Engine) -> None:
    short, long = Outbox(engine, dice=lambda: 0.0), Outbox(engine, dice=lambda: 1.0)
    assert [short._wait_s(n) for n in (1, 2, 3, 9, 99)] == [1, 2, 4, 30, 30]
    assert [long._wait_s(n) for n in (1, 2, 3, 9, 99)] == [2, 4, 8, 60, 60]


def test_a_retry_waits(engine: sa.Engine) -> None:
    queued_leads(engine, 1)
    box = Outbox(engine, dice=lambda: 1.0)
    assert box.due("salesforce")
    box.finish(results(box.claim_writes(), Outcome.RETRY, "UNABLE_TO_LOCK_ROW"))
    assert box.oldest_s("salesforce") > 0
    with transaction(engine) as connection:
        connection.execute(sa.update(outbox).values(due_at=sa.func.now() + timedelta(seconds=60)))
    assert (box.due("salesforce"), box.claim_writes()) == (False, [])
    let_leases_run_out(engine)
    assert [one.attempts for one in box.claim_writes()] == [2]


def test_I5_a_zombie_whose_lease_ran_out_changes_nothing(engine: sa.Engine) -> None:
    queued_leads(engine, 1)
    box = Outbox(engine)
    zombie = box.claim_writes()
    let_leases_run_out(engine)
    alive = box.claim_writes()
    assert [one.outbox_id for one in alive] == [one.outbox_id for one in zombie]
    for outcome in Outcome:
        assert box.finish(results(zombie, outcome)) == []
    assert states(engine) == ["pending"]
    box.finish(results(alive, Outcome.DONE))
    box.finish(results(alive, Outcome.DONE))
    assert states(engine) == ["done"]
    assert len(Timeline(engine).of(alive[0].write.lead_id)) == 1


def test_claims_at_the_same_time_never_share_a_lead(engine: sa.Engine) -> None:
    made = queued_leads(engine, 120)
    box, start = Outbox(engine), threading.Barrier(6)

    def claim(_: int) -> list[int]:
        start.wait()
        with transaction(engine) as connection:
            rows.queue(connection, "salesforce", made[0], 1)
        return all_claimed(box)

    long_waited(engine)
    with ThreadPoolExecutor(6) as pool:
        claimed = [lead for some in pool.map(claim, range(6)) for lead in some]
    long_waited(engine)  # whoever met another's call under way left the last few for later
    claimed += all_claimed(box)
    assert len(claimed) == len(set(claimed)) == 120
    assert box.due("salesforce") is False


def all_claimed(box: Outbox) -> list[int]:
    leads_claimed: list[int] = []
    while claims := box.claim_writes(limit=20, lease_s=600):
        leads_claimed += [one.write.lead_id for one in claims]
    return leads_claimed


def test_freed_places_are_told_to_the_turnstile_until_it_knows(engine: sa.Engine) -> None:
    (member,) = rows.add_members(engine, 1)
    with transaction(engine) as connection:
        made = rows.decision(rows.add_lead(connection, 1), member, [rows.weighed(member)], seq=1)
        rows.add_decisions(connection, [made])
        rows.add_offer(connection, made, state="rejected")
    box = Outbox(engine)
    (free,) = box.claim_frees()
    assert (free.offer_id, free.member_id, free.market, free.lead_id) == (made.id, member, "us", made.lead)
    assert (box.claim_frees(), box.claim_writes()) == ([], [])
    let_leases_run_out(engine)
    (again,) = box.claim_frees()
    box.freed([free])
    assert box.due("turnstile") is False  # leased
    box.freed([again])
    assert box.oldest_s("turnstile") == 0


def test_a_backlog_is_claimed_in_calls_of_at_most_200(engine: sa.Engine) -> None:
    queued_leads(engine, 450)
    box = Outbox(engine)
    assert [len(box.claim_writes()) for _ in range(3)] == [200, 200, 0]
    long_waited(engine)
    assert [len(box.claim_writes()) for _ in range(2)] == [50, 0]

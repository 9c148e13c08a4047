import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from routing.change import Delivery, Outcome, Written
from storage.postgres import outbox as outbox_module
from storage.postgres.engine import transaction
from storage.postgres.outbox import Outbox
from storage.postgres.tables import leads, outbox, parked
from storage.postgres.timeline import Timeline
from tests.integration.storage.postgres import rows


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for another call's end waits for longer than a slow machine takes for a test."""
    monkeypatch.setattr(outbox_module, "COMPANY_S", 30.0)


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


def test_X3_a_call_that_came_to_nothing_counts_as_no_attempt(engine: sa.Engine) -> None:
    queued_leads(engine, 3)
    box = Outbox(engine)
    for _ in range(5):
        claimed = box.claim_writes()
        assert [one.attempts for one in claimed] == [1, 1, 1]
        box.release(claimed, "Salesforce is unwell")
    assert box.due("salesforce")


def test_X3_what_was_given_back_late_belongs_to_somebody_else(engine: sa.Engine) -> None:
    queued_leads(engine, 2)
    box = Outbox(engine)
    zombie = box.claim_writes()
    let_leases_run_out(engine)
    alive = box.claim_writes(limit=2) + box.claim_writes(limit=2)
    box.release(zombie, "woke up")
    assert box.due("salesforce") is False
    box.finish(results(alive, Outcome.DONE))
    assert states(engine) == ["done", "done"]


def test_X3_a_record_refused_for_a_passing_reason_is_parked_after_so_many_tries(engine: sa.Engine) -> None:
    queued_leads(engine, 2)
    box = Outbox(engine, tries=3)
    for attempt in (1, 2, 3):
        claimed = box.claim_writes()
        locked, broken = claimed if len(claimed) == 2 else (claimed[0], None)
        assert locked.attempts == attempt
        told = results([locked], Outcome.RETRY, "UNABLE_TO_LOCK_ROW")
        if broken:
            told.append((broken, Written(broken.write.lead_id, Outcome.RETRY, "TRIGGER", "it fails", tries=1)))
        box.finish(told)
        long_waited(engine)
    assert states(engine) == ["parked", "parked"]
    with transaction(engine) as connection:
        reasons = set(connection.scalars(sa.select(parked.c.reason)))
    assert reasons == {"UNABLE_TO_LOCK_ROW: told so", "TRIGGER: it fails"}


def test_a_lead_that_kills_whoever_writes_it_is_found_in_three_deaths_and_parked(engine: sa.Engine) -> None:
    made = queued_leads(engine, 60)
    killer, box, deaths = made[20], Outbox(engine), 0
    while claimed := box.claim_writes():
        if killer in {one.write.lead_id for one in claimed}:
            deaths += 1
            let_leases_run_out(engine)
        else:
            box.finish(results(claimed, Outcome.DONE))
        long_waited(engine)
    assert deaths == 3
    assert states(engine).count("done") == 59
    with transaction(engine) as connection:
        letter = connection.execute(sa.select(parked)).one()
    assert letter.input["lead_id"] == killer
    assert "3 processes ended" in letter.reason


def test_the_deaths_of_a_lead_stay_with_it_when_a_newer_version_comes(engine: sa.Engine) -> None:
    (lead,) = queued_leads(engine, 1)
    box = Outbox(engine)
    for version in (2, 3, 4):
        assert len(box.claim_writes()) == 1
        let_leases_run_out(engine)
        with transaction(engine) as connection:
            connection.execute(sa.update(leads).values(version=version))
            rows.queue(connection, "salesforce", lead, version)
    assert box.claim_writes() == []
    assert states(engine) == ["superseded", "superseded", "superseded", "parked"]


def test_the_hottest_go_first_and_imports_last(engine: sa.Engine) -> None:
    made = queued_leads(engine, 6)
    with transaction(engine) as connection:
        for lead, lane in zip(made, (2, 1, 2, 0, 1, 0), strict=True):
            connection.execute(sa.update(outbox).where(outbox.c.lead_id == lead).values(lane=lane))
    box = Outbox(engine)
    order = []
    for _ in range(6):
        [one] = box.claim_writes(limit=1)
        order.append(made.index(one.write.lead_id))
        box.finish(results([one], Outcome.DONE))
    assert order == [3, 5, 1, 4, 0, 2]


def test_a_few_wait_for_the_call_that_is_under_way(engine: sa.Engine) -> None:
    queued_leads(engine, 5)
    box = Outbox(engine)
    first = box.claim_writes(limit=2)
    assert box.claim_writes() == []
    box.finish(results(first, Outcome.DONE))
    assert len(box.claim_writes()) == 3


def test_X3_what_salesforce_shows_older_than_it_was_told_is_told_again(engine: sa.Engine) -> None:
    made = queued_leads(engine, 4)
    box = Outbox(engine)
    with transaction(engine) as connection:
        connection.execute(sa.update(leads).values(version=5))
        connection.execute(sa.update(outbox).values(version=5))
    box.finish(results(box.claim_writes(), Outcome.DONE))
    shown = {f"00Q{n:015}": version for n, version in enumerate((5, 4, None, 6))}
    assert box.compare(shown) == 2
    assert box.compare(shown) == 0  # it waits to be told already
    again = box.claim_writes()
    assert [(one.write.lead_id, one.write.version) for one in again] == [(made[1], 5), (made[2], 5)]
    assert box.compare({"00Q-unknown": 1}) == 0


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

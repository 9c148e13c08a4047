"""Who answers at the same moment: one wins, the others are told why not (row O6)."""

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from routing.errors import Refused, TryLater
from routing.offer import Actor, AlreadyAnswered
from tests.integration.routing.house import MARKET, House

#: Calls on one offer at once, and races of one answer with one expiry; the proof has 10,000 of those.
CROWD, RACES = 1000, int(os.environ.get("RACES", "300"))
#: Threads that call; each has a connection of its own.
THREADS = 40
DUE = "UPDATE offers SET expires_at = clock_timestamp() + :by WHERE id = :offer"
#: What those hear who come too late, by what has become of the offer.
WHY = {
    "accepted": re.compile("AlreadyAnswered: .* it is accepted|OfferChanged"),
    "rejected": re.compile("AlreadyAnswered: .* it is rejected"),
    # Before it was withdrawn its deadline may have passed, and nobody had written that down.
    "withdrawn": re.compile("OfferWithdrawn: The offer was withdrawn at |OfferExpired"),
    "expired": re.compile("OfferExpired: The offer expired at "),
}


def until_heard(call: Callable[[], str]) -> str:
    """What came of a call, repeated as long as the ledger is crowded."""
    while True:
        try:
            return call()
        except TryLater:
            time.sleep(random.uniform(0.01, 0.1))
        except Refused as exc:
            return f"{type(exc).__name__}: {exc}"


def answers_to(house: House, offer: UUID, member: int) -> Sequence[Callable[[], str]]:
    """A call of each kind; each says `won ...` when it changed something."""

    def accept() -> str:
        answered = house.desk.accept(offer, member=member)
        return f"{'same' if answered.repeated else 'won'} {answered.state}"

    def reject() -> str:
        answered = house.desk.reject(offer, "too_far", member=member)
        return f"{'same' if answered.repeated else 'won'} {answered.state}"

    def rescind() -> str:
        answered = house.desk.rescind(offer, None, then="hold", actor=Actor.MANAGER, version=1)
        return f"{'same' if answered.repeated else 'won'} {answered.state}"

    def expire() -> str:
        again, over = house.leads.expire(house.answering())
        return "won expired" if again or over else "nothing overdue"

    return accept, reject, rescind, expire


@pytest.mark.parametrize(("calls", "deadline_s"), [(CROWD, 0.4), (CROWD // 5, 0.005), (CROWD // 5, 60.0)])
def test_O6_of_a_thousand_answers_at_once_one_wins_and_the_others_hear_why(
    house: House, calls: int, deadline_s: float
) -> None:
    one = house.member("one", 40.01)
    lead = house.lead("00Q000000000000001")
    house.work()
    offer = house.offer(lead)
    crowded = House(house.database_url, house.redis_url, connections=THREADS)
    ready = threading.Barrier(THREADS)

    def at_once(share: Sequence[Callable[[], str]]) -> list[str]:
        ready.wait()
        return [until_heard(call) for call in share]

    kinds = answers_to(crowded, offer, one)
    chosen = [random.choice(kinds) for _ in range(calls)]
    house.run(DUE, by=timedelta(seconds=deadline_s), offer=offer)
    with ThreadPoolExecutor(THREADS) as pool:
        shares = pool.map(at_once, [chosen[n::THREADS] for n in range(THREADS)])
        heard = Counter(said for share in shares for said in share)
    crowded.close()
    assert heard.total() == calls
    [winner] = [said for said in heard if said.startswith("won ")]
    assert heard[winner] == 1
    state = house.value("SELECT state FROM offers WHERE id = :offer", offer=offer)
    assert winner == f"won {state}"
    told = {f"same {state}", "nothing overdue", *(said for said in heard if WHY[state].match(said))}
    assert set(heard) == {winner} | (told & heard.keys()), heard
    house.aged()
    house.tick()
    assert house.story(lead).count(state) == 1 + (state == "withdrawn")  # the lead is withdrawn with it
    assert house.value("SELECT open FROM members WHERE id = :m", m=one) == (state == "accepted")
    assert house.turnstile.open_counts(MARKET).get(one, 0) == (state == "accepted")
    assert house.written[-1].state == {"accepted": "accepted", "withdrawn": "withdrawn"}.get(state, "review")


def test_O6_who_answers_late_waits_for_an_answer_in_time_that_has_not_ended_yet(house: House) -> None:
    one = house.member("one", 40.01)
    lead = house.lead("00Q000000000000001")
    house.work()
    offer = house.offer(lead)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    @sa.event.listens_for(house.engine, "begin")
    def be_patient(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")

    def until(done: Callable[[], object], *calls: Future[Any]) -> None:
        while not done() and not any(call.done() for call in calls):
            time.sleep(0.001)

    with ThreadPoolExecutor(2) as pool:
        with house.engine.begin() as other:
            other.execute(sa.text("LOCK TABLE timeline IN SHARE MODE"))  # so the answer is half written, and stands
            house.run(DUE, by=timedelta(seconds=4), offer=offer)
            in_time = pool.submit(house.desk.accept, offer, member=one)
            until(lambda: house.value(waiting) == 1, in_time)
            until(lambda: house.value("SELECT expires_at <= clock_timestamp() FROM offers"), in_time)
            late = pool.submit(house.desk.reject, offer, "too_far", member=one)
            until(lambda: house.value(waiting) == 2, late)
            assert not late.done()
        assert in_time.result().state == "accepted"
        with pytest.raises(AlreadyAnswered, match="it is accepted"):
            late.result()


def test_O6_races_of_an_accept_with_the_deadline_have_one_winner_each(house: House) -> None:
    one = house.member("one", 40.01, capacity=2 * RACES)
    lay_out(house, one, RACES)
    offers = house.rows("SELECT id, lead_id FROM offers ORDER BY lead_id")
    ready = threading.Barrier(2)
    won: Counter[str] = Counter()

    def relay() -> None:
        for _ in offers:
            ready.wait()
            until = time.monotonic() + 30
            while not ended.is_set() and time.monotonic() < until:
                house.leads.expire(house.answering())
            ready.wait()

    ended = threading.Event()
    relaying = threading.Thread(target=relay)
    relaying.start()
    left_s = 0.02  # drawn to where both win equally often, as that is where they meet
    for offer, lead in offers:
        ended.clear()
        house.run(DUE, by=timedelta(seconds=left_s), offer=offer)
        ready.wait()
        said = until_heard(answers_to(house, offer, one)[0])
        while house.state(lead)[0] == "offered":
            time.sleep(0.001)
        ended.set()
        ready.wait()
        state = house.value("SELECT state FROM offers WHERE id = :offer", offer=offer)
        assert (said, state) == ("won accepted", "accepted") or (state == "expired" and "OfferExpired" in said), said
        won[state] += 1
        left_s *= 0.8 if state == "accepted" else 1.25
    relaying.join()
    assert won.total() == RACES
    assert min(won["accepted"], won["expired"]) > RACES / 10, won
    late = """
        SELECT count(*) FROM offers
        WHERE CASE WHEN state = 'accepted' THEN accepted_at >= expires_at ELSE ended_at < expires_at END
    """
    assert house.value(late) == 0
    assert house.value("SELECT open FROM members WHERE id = :m", m=one) == won["accepted"]
    house.run("UPDATE leads SET state = 'withdrawn', reason = 'deleted' WHERE state = 'new'")


def lay_out(house: House, member: int, count: int, *, first: int = 1) -> None:
    """Leads that a person gave to the member by hand, not answered yet; numbered from `first`."""
    house.run(
        """
        WITH made AS (
            INSERT INTO leads (salesforce_id, state, country, lat, lon, pool, received_at)
            SELECT 'race' || n, 'offered', 'US', 40, -75, 'installers', clock_timestamp()
            FROM generate_series(:first, :first + :count - 1) n RETURNING id
        ), given AS (
            INSERT INTO offers (id, lead_id, member_id, market, attempt, kind, distance_m, ring_m, offered_at,
                                expires_at)
            SELECT gen_random_uuid(), id, :member, 'main', 1, 'manual', 1, 8000, clock_timestamp(),
                   clock_timestamp() + interval '1 hour' FROM made RETURNING id, lead_id
        ), told AS (
            INSERT INTO timeline (lead_id, what, actor, detail)
            SELECT lead_id, 'offered', 'test', jsonb_build_object('offer', id) FROM given
        ), written AS (
            INSERT INTO outbox (kind, lead_id, version) SELECT 'salesforce', id, 1 FROM made
        )
        UPDATE members SET open = open + :count WHERE id = :member
        """,
        member=member,
        count=count,
        first=first,
    )

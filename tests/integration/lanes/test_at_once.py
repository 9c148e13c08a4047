"""Several relays at once, as several beats bring them about: every effect once."""

from concurrent.futures import ThreadPoolExecutor

from tests.integration.routing.house import House


def test_G17_three_relays_at_once_end_every_offer_once(house: House) -> None:
    for n in range(3):
        house.member(f"m{n}", 40.01, capacity=30)
    leads = [house.lead(f"00Q0000000000001{n:02}") for n in range(12)]
    house.work()
    house.overdue()
    house.aged()
    with ThreadPoolExecutor(3) as pool:
        ticks = [pool.submit(house.sweeper.relay) for _ in range(6)]
    told = [tick.result().get("expired", 0) for tick in ticks]
    assert sum(told) == len(leads)
    house.work()
    assert house.value("SELECT count(*) FROM timeline WHERE what = 'expired'") == len(leads)
    assert house.value("SELECT max(n) FROM (SELECT count(*) AS n FROM offers GROUP BY lead_id) x") == 2
    assert [house.state(lead)[0] for lead in leads] == ["offered"] * len(leads)


def test_three_beats_bring_back_what_was_left_behind_once(house: House) -> None:
    house.member("near", 40.01, capacity=30)
    leads = [house.lead(f"00Q0000000000001{n:02}") for n in range(12)]
    house.log.clear()
    house.aged()
    with ThreadPoolExecutor(3) as pool:
        ticks = [pool.submit(house.sweeper.relay) for _ in range(3)]
    assert sum(tick.result().get("route", 0) for tick in ticks) == len(leads)
    assert sorted(i for task, ids in house.log if task == "leads.route" for i in ids) == leads

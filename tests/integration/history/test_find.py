"""Leads found by filters, and sent through once more."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from config import policy as policy_file
from routing.errors import BadInput
from storage.postgres.find import NAMES, Filters, Find
from storage.postgres.reprocess import Reprocess
from tests.integration.routing.house import House
from workers.cli_find import leads_out


def _some(house: House) -> None:
    house.member("one", capacity=2)
    for n in range(5):
        house.lead(f"lead-{n}", source="web" if n % 2 else "=fair()")
    house.lead("far", 10.0, 10.0)
    house.work()


def test_E6_each_list_has_as_many_rows_as_the_screen_and_names_its_filters(house: House) -> None:
    _some(house)
    find = Find(house.engine)
    for asked in (
        Filters(),
        Filters(state="waiting"),
        Filters(reason="no_room"),
        Filters(member="one"),
        Filters(source="web", state="offered"),
        Filters(country="US", pool="installers", policy=1),
        Filters(state="done"),
    ):
        pages, after = [], None
        while True:
            page = find.page(asked, after=after, limit=2)
            pages += page.leads
            after = page.next
            if after is None:
                break
        assert len(pages) == find.count(asked)
        for shape in ("csv", "json", "jsonl"):
            to = io.StringIO()
            leads_out(asked, find.all(asked), shape, to)
            text = to.getvalue()
            if shape == "json":
                told = json.loads(text)
                assert (told["filters"], told["count"], told["leads"]) == (asked.used(), len(pages), pages)
            elif shape == "jsonl":
                meta, *leads = map(json.loads, text.splitlines())
                assert (meta["meta"]["filters"], meta["meta"]["count"], leads) == (asked.used(), len(pages), pages)
            else:
                head = [line for line in text.splitlines() if line.startswith("#")]
                assert head[0] == f"# filters: {json.dumps(asked.used())}"
                rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
                assert [row["lead_id"] for row in rows] == [lead["lead_id"] for lead in pages]
                assert text.splitlines()[len(head)].split(",") == list(NAMES)
                # What a spreadsheet would work out stands behind a '.
                told = [(lead["source"] or "").replace("=", "'=") for lead in pages]
                assert [row["source"] for row in rows] == told
    assert find.count(Filters(state="offered")) == 2
    assert find.count(Filters(member="one")) == 2
    assert find.count(Filters(state="waiting", reason="no_room")) == 3


def test_E5_leads_that_failed_are_run_again_under_the_policy_of_now_with_old_and_new_shown(house: House) -> None:
    house.publish(rings={"unit": "mi", "radii": [5]})
    house.member("near")
    house.member("far", 40.3, -75.0)
    lead, taken = house.lead("lead-1", 40.2), house.lead("lead-2")
    house.work()
    house.run("UPDATE leads SET state = 'review', reason = 'error' WHERE id = :lead", lead=lead)
    moved = house.publish(rings={"unit": "mi", "radii": [50]}, mode="nearest")
    again = Reprocess(house.engine)
    assert again.by_reason("error") == [lead]  # type: ignore[arg-type]  # a word does as well
    assert again.known(["lead-2", str(lead), "nobody"]) == {"lead-2": taken, str(lead): lead}

    before = again.stand([lead, taken])
    offers = house.rows("SELECT * FROM offers ORDER BY id")
    after = again.rehearse([lead, taken], policy_file.parse, house.new_id)
    assert (before[lead].state, before[lead].reason, after[lead].state, after[lead].member) == (
        "review",
        "error",
        "offered",
        "far",
    )
    assert (before[taken].member, after[taken].member, after[taken].policy_version) == ("near", "far", moved)
    assert again.stand([lead, taken]) == before  # a rehearsal leaves nothing behind
    assert house.rows("SELECT * FROM offers ORDER BY id") == offers

    assert again.reopen([lead, taken], actor="test") == [lead, taken]
    house.wanted.append("outbox.free")
    house.log.append(("leads.route", [lead, taken]))
    house.work()
    now = again.stand([lead, taken])
    assert {one: now[one].member for one in now} == {one: after[one].member for one in after}
    assert "reprocessed" in house.story(taken)
    assert house.value("SELECT count(*) FROM audit WHERE action = 'leads.reprocessed'") == 1


def test_E5_who_works_on_a_lead_keeps_it(house: House) -> None:
    house.member("one")
    lead = house.lead("lead-1")
    house.work()
    house.desk.accept(house.offer(lead))
    assert Reprocess(house.engine).reopen([lead], actor="test") == []
    assert house.state(lead) == ("accepted", None)


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(BadInput, match="ends before it begins"):
        Filters(since=datetime(2026, 12, 1, tzinfo=UTC), until=datetime(2026, 1, 1, tzinfo=UTC))

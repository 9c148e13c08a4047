"""CSV rows: the good go on, each bad one is told apart with the field and the fix (row G9, bad input)."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import BadInput
from routing.lead import Address, Point
from workers.rows import BadRow, LeadRow, MemberInput, read_leads, read_members

LEADS = "lead_id,received_at,country,postal_code,city,state,lat,lon,interest\n"
MEMBERS = "partner_id,name,country,postal_code,city,lat,lon,tier,capacity,weight,active,salesforce_id,rating\n"


def leads(folder: Path, content: str | bytes) -> list[LeadRow | BadRow]:
    file = folder / "leads.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_leads(file))


def members(folder: Path, content: str, tiers: tuple[str, ...] = ()) -> list[MemberInput | BadRow]:
    file = folder / "members.csv"
    file.write_text(content)
    return list(read_members(file, tiers=tiers))


def good(rows: list[LeadRow | BadRow]) -> list[str]:
    return [row.source_id for row in rows if isinstance(row, LeadRow)]


def bad(rows: list[LeadRow | BadRow] | list[MemberInput | BadRow]) -> list[BadRow]:
    return [row for row in rows if isinstance(row, BadRow)]


def test_a_lead_keeps_its_place_and_whatever_else_the_file_says(tmp_path: Path) -> None:
    rows = leads(tmp_path, LEADS + "L1,2018-07-01T00:13:58,Australia,6056,BASKERVILLE,WA,-31.838398,116.0261,PV\n")
    address = Address(city="BASKERVILLE", state="WA", postal_code="6056", country="AU")
    when = datetime(2018, 7, 1, 0, 13, 58, tzinfo=UTC)
    assert rows == [LeadRow(2, "L1", address, Point(-31.838398, 116.0261), when, attributes={"interest": "PV"})]


def test_a_lead_without_coordinates_keeps_its_address_for_the_geocoder(tmp_path: Path) -> None:
    [row] = leads(tmp_path, LEADS + "L1,,US,06511,New Haven,CT,,,\n")
    assert isinstance(row, LeadRow)
    assert (row.place, row.address.postal_code, row.received_at, row.attributes) == (None, "06511", None, {})


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("L1,,US,12207,Albany,NY,42.65", "row"),
        ("L1,,US,12207,Albany,NY,42.65,-73.75,PV,more", "row"),
        (",,US,12207,Albany,NY,42.65,-73.75,", "lead_id"),
        ("L1,,Elbonia,12207,Albany,NY,42.65,-73.75,", "country"),
        ("L1,,US,12207,Albany,NY,NaN,-73.75,", "lat"),
        ("L1,,US,12207,Albany,NY,42.65,inf,", "lon"),
        ("L1,,US,12207,Albany,NY,90.1,-73.75,", "lat"),
        ("L1,,US,12207,Albany,NY,42.65,-180.01,", "lon"),
        ("L1,,US,12207,Albany,NY,4_2.65,-73.75,", "lat"),
        ('L1,,US,12207,Albany,NY,"42,65",-73.75,', "lat"),
        ("L1,,US,12207,Albany,NY,42.65,,", "lon"),
        ("L1,yesterday,US,12207,Albany,NY,42.65,-73.75,", "received_at"),
        ("L1,,US,12207,Alb\0any,NY,42.65,-73.75,", "city"),
        (f"L1,,US,12207,Albany,NY,42.65,-73.75,{'x' * 20_000}", "interest"),
        (f"L1,,US,12207,Albany,NY,42.65,-73.75,{'x' * 1_048_576}", "interest"),
        (f"L1,,US,12207,Albany,NY,42.65,-73.75,{'x' * 2_097_152}", "row"),
        (f"L1,,US,12207,{'x' * 300},NY,42.65,-73.75,", "city"),
        ('L1,,US,12207,"Albany,NY,42.65,-73.75,', "row"),
        ('L1,,US,12207,"Albany" he said,NY,42.65,-73.75,', "row"),
    ],
)
def test_a_bad_row_is_told_apart_with_field_and_fix_and_the_others_go_on(tmp_path: Path, line: str, field: str) -> None:
    before, after = "L0,,US,12207,Albany,NY,42.65,-73.75,\n", 'L9,,US,12207,"Albany",NY,42.65,-73.75,\n'
    rows = leads(tmp_path, f"{LEADS}{before}{line}\n{after}")
    [refused] = bad(rows)
    assert good(rows) == ["L0", "L9"]
    assert (refused.file, refused.line, refused.field) == ("leads.csv", 3, field)
    assert refused.reason.startswith(f"{field}: ")
    assert refused.reason.count(".") >= 2 or refused.reason.endswith(".")
    json.dumps(refused.input).encode()


@pytest.mark.parametrize("raw", [b"Z\xfcrich", b"\xed\xa0\x80", b"\xff\xfe"])
def test_bytes_that_are_not_utf8_cost_only_their_row(tmp_path: Path, raw: bytes) -> None:
    head = LEADS.encode()
    rows = leads(tmp_path, head + b"L1,,CH,8001," + raw + b",,47.3,8.5,\nL2,,CH,8001,Z\xc3\xbcrich,,47.3,8.5,\n")
    [refused] = bad(rows)
    assert (refused.field, refused.line, good(rows)) == ("city", 2, ["L2"])
    assert "UTF-8" in refused.reason
    assert refused.input["city"].encode()


def test_an_id_seen_before_is_refused_with_the_first_line(tmp_path: Path) -> None:
    row = ",,US,12207,Albany,NY,,,\n"
    rows = leads(tmp_path, f"{LEADS}L1{row}L2{row}L1{row}")
    [refused] = bad(rows)
    assert good(rows) == ["L1", "L2"]
    assert (refused.line, refused.field) == (4, "lead_id")
    assert "line 2" in refused.reason


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    content = "\ufeff" + LEADS + "\n  \nL1,,US,12207,Albany,NY,,,\n,,,,,,,,\n\nL2,,US,12207,Albany,NY,,,"
    rows = leads(tmp_path, content.replace("\n", "\r\n"))
    assert (good(rows), bad(rows)) == (["L1", "L2"], [])


def test_a_quoted_field_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    rows = leads(tmp_path, LEADS + 'L1,,US,12207,Albany,NY,,,"roof, ""south""\nand barn"\nL2,,US,12207,Albany,NY,,,\n')
    first, second = rows
    assert isinstance(first, LeadRow)
    assert isinstance(second, LeadRow)
    assert first.attributes == {"interest": 'roof, "south"\nand barn'}
    assert (first.line, second.line) == (2, 4)


def test_a_quote_left_open_in_the_last_column_costs_one_row(tmp_path: Path) -> None:
    rows = leads(tmp_path, LEADS + 'L1,,US,1,A,NY,,,"PV\n' + "".join(f"M{i},,US,1,A,NY,,,PV\n" for i in range(200)))
    assert [row.line for row in bad(rows)] == [2]
    assert len(good(rows)) == 200


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "id,city\nL1,Albany\n",
        "lead_id,interest\nL1,PV\n",
        "lead_id,city,city\nL1,a,b\n",
        "lead_id;city\nL1;Albany\n",
        LEADS.encode("utf-16"),
        '"lead_id,city\n',
    ],
)
def test_a_file_without_the_needed_columns_is_refused_whole(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(BadInput) as caught:
        leads(tmp_path, content)
    assert caught.value.field == "leads.csv"
    assert "row of column names" in caught.value.fix or "Take one of them out" in caught.value.fix


def test_a_missing_file_is_named_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.csv.*Name a CSV file that exists"):
        list(read_leads(tmp_path / "nothing.csv"))
    with pytest.raises(BadInput, match="cannot be opened"):
        list(read_members(tmp_path))


def test_a_member_keeps_its_overrides_and_the_columns_nobody_asked_for(tmp_path: Path) -> None:
    [member] = members(tmp_path, MEMBERS + "P1,Sun Co,USA,07430,Mahwah,41.08,-74.18,Gold,3,1.5,no,,4.5\n", ("gold",))
    assert isinstance(member, MemberInput)
    row = member.row
    assert (row.key, row.name, row.country, row.tier, row.capacity, row.weight) == (
        "P1",
        "Sun Co",
        "US",
        "gold",
        3,
        1500,
    )
    assert (row.active, row.salesforce_id, row.market, member.unplaced) == (False, None, "", ())
    assert row.places == (Point(41.08, -74.18),)
    assert row.attributes == {"postal_code": "07430", "city": "Mahwah", "rating": "4.5"}


def test_what_a_member_leaves_blank_is_for_the_tier_to_say(tmp_path: Path) -> None:
    [member] = members(tmp_path, MEMBERS + "P1,,US,07430,Mahwah,41.08,-74.18,Diamond,,,,,\n", ("gold",))
    assert isinstance(member, MemberInput)
    row = member.row
    assert (row.name, row.tier, row.capacity, row.weight, row.active) == ("P1", "Diamond", None, None, None)


def test_G9_rows_with_one_partner_id_are_branches_of_one_member(tmp_path: Path) -> None:
    [first, second] = members(
        tmp_path,
        MEMBERS
        + "P1,Sun Co,US,12207,Albany,42.65,-73.75,gold,9,,,,\n"
        + "P2,Ray Co,US,10001,New York,40.75,-73.99,silver,,,,,\n"
        + "P1,Sun Co,US,13601,Watertown,43.97,-75.91,,,,,,\n"
        + "P1,Sun Co,US,14850,Ithaca,,,gold,,2,,,\n",
    )
    assert isinstance(first, MemberInput)
    assert isinstance(second, MemberInput)
    assert first.row.places == (Point(42.65, -73.75), Point(43.97, -75.91))
    assert first.unplaced == (Address(city="Ithaca", postal_code="14850", country="US"),)
    assert (first.row.tier, first.row.capacity, first.row.weight, first.line) == ("gold", 9, 2000, 2)
    assert second.row.key == "P2"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("P1,Sun Co,US,12207,Albany,42.65,-73.75,gold,9,,,,", "partner_id"),
        ("P1,Sun Co,US,13601,Watertown,43.97,-75.91,silver,,,,,", "tier"),
        ("P1,Sun Co,US,13601,Watertown,43.97,-75.91,,8,,,,", "capacity"),
        ("P2,X,US,1,A,43.97,-75.91,gold,-1,,,,", "capacity"),
        ("P2,X,US,1,A,43.97,-75.91,gold,many,,,,", "capacity"),
        ("P2,X,US,1,A,43.97,-75.91,gold,2.5,,,,", "capacity"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,0,,,", "weight"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,-1,,,", "weight"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,0.0001,,,", "weight"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,nan,,,", "weight"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,,maybe,,", "active"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,,,001,", "salesforce_id"),
        ("P2,X,US,1,A,43.97,-75.91,gold,,,,001000000000001AAA,", "salesforce_id"),
        ("P2,X,US,,,,,gold,,,,,", "lat"),
        ("P2,X,Elbonia,1,A,43.97,-75.91,gold,,,,,", "country"),
    ],
)
def test_a_bad_member_row_is_told_apart_and_the_members_before_it_stand(tmp_path: Path, line: str, field: str) -> None:
    first = "P1,Sun Co,US,12207,Albany,42.65,-73.75,gold,9,,,001000000000001AAA,\n"
    rows = members(tmp_path, f"{MEMBERS}{first}{line}\n")
    [refused] = bad(rows)
    assert (refused.line, refused.field) == (3, field)
    assert [row.row.capacity for row in rows if isinstance(row, MemberInput)] == [9]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda t: t == t.strip() and "\0" not in t)


@settings(max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=6))
def test_any_text_a_csv_writer_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, notes: list[str]) -> None:
    file = tmp_path_factory.mktemp("rows") / "leads.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["lead_id", "city", "note"])
        writer.writerows([f"L{i}", "Albany", note] for i, note in enumerate(notes))
    rows = list(read_leads(file))
    assert [row.attributes.get("note", "") for row in rows if isinstance(row, LeadRow)] == notes


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_bytes_stop_the_rows_behind_them(tmp_path_factory: pytest.TempPathFactory, junk: list[bytes]) -> None:
    file = tmp_path_factory.mktemp("rows") / "leads.csv"
    file.write_bytes(LEADS.encode() + b"\n".join(junk).replace(b'"', b"'") + b"\nL9,,US,12207,Albany,NY,,,\n")
    assert "L9" in good(list(read_leads(file)))


def test_the_sample_files_hold_no_bad_row() -> None:
    data = Path(__file__).parents[3] / "data"
    leads_found, members_found = (
        list(read_leads(data / "sample_leads_ny.csv")),
        list(read_members(data / "sample_members.csv")),
    )
    assert bad(leads_found) == bad(members_found) == []
    assert (len(leads_found), len(members_found)) == (400, 120)
    assert sum(row.place is None for row in leads_found if isinstance(row, LeadRow)) == 100
    assert sum(len(row.row.places) == 2 for row in members_found if isinstance(row, MemberInput)) == 12

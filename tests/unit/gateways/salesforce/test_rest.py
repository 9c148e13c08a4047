import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from simple_salesforce.exceptions import SalesforceGeneralError

from gateways.salesforce.auth import ClientCredentials, Session, TokenProvider
from gateways.salesforce.errors import OrgClosed, outcome_of, translate
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce, Usage
from routing.change import Outcome, WriteBack
from routing.errors import GiveUp, TryLater
from routing.gate import OrgPaused, Purpose
from tests.fakes.http_org import ORG, Answer, Asked, HttpOrg, answering

BASE = "/services/data/v64.0"


@pytest.fixture
def org() -> Iterator[HttpOrg]:
    with answering(HttpOrg()) as server:
        yield server


@pytest.fixture
def salesforce(org: HttpOrg) -> Salesforce:
    return Salesforce(TokenProvider(org.url, ClientCredentials("a", "b")), FieldMap.load())


def record_id(number: int) -> str:
    return f"00Q{number:012d}EAA"


def writes(count: int) -> list[WriteBack]:
    return [
        WriteBack(lead_id=n, salesforce_id=record_id(n), version=1, state="waiting", attempt=1) for n in range(count)
    ]


def problem(code: str, message: str = "") -> list[dict[str, Any]]:
    return [{"errorCode": code, "message": message}]


def failed(code: str, message: str = "") -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}


def collection(results: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Asked], Answer]:
    """Answers a collection call with a result for each record."""
    return lambda asked: Answer(body=[results(record) for record in asked.json["records"]])


# --- writing


def test_leads_are_written_200_a_call_without_all_or_none(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = collection(lambda _record: {"success": True})
    results = salesforce.write(writes(450))
    calls = org.asked[1:]
    assert [len(call.json["records"]) for call in calls] == [200, 200, 50]
    assert {(call.method, call.path, call.json["allOrNone"]) for call in calls} == {
        ("PATCH", f"{BASE}/composite/sobjects", False)
    }
    assert {call.headers["sforce-call-options"] for call in calls} == {"client=Fairturn"}
    assert [result.lead_id for result in results] == list(range(450))
    assert {result.outcome for result in results} == {Outcome.DONE}


def test_one_failing_record_of_200_touches_no_other(org: HttpOrg, salesforce: Salesforce) -> None:
    codes = {record_id(17): "UNABLE_TO_LOCK_ROW", record_id(18): "STRING_TOO_LONG", record_id(19): "ENTITY_IS_DELETED"}
    org.answer = collection(lambda r: failed(codes[r["Id"]]) if r["Id"] in codes else {"success": True})
    results = salesforce.write(writes(200))
    odd = {n: result.outcome for n, result in enumerate(results) if result.outcome is not Outcome.DONE}
    assert odd == {17: Outcome.RETRY, 18: Outcome.PARK, 19: Outcome.GONE}
    assert results[18].code == "STRING_TOO_LONG"


def test_a_record_that_salesforce_cannot_parse_is_found_and_the_others_are_written(
    org: HttpOrg, salesforce: Salesforce
) -> None:
    def answer(asked: Asked) -> Answer:
        if any(record["Id"] == record_id(5) for record in asked.json["records"]):
            return Answer(400, problem("JSON_PARSER_ERROR", "Cannot deserialize"))
        return Answer(body=[{"success": True} for _ in asked.json["records"]])

    org.answer = answer
    results = salesforce.write(writes(20))
    assert [n for n, result in enumerate(results) if result.outcome is Outcome.PARK] == [5]
    assert results[5].code == "JSON_PARSER_ERROR"
    assert len(org.asked) < 14


def test_a_missing_custom_field_parks_all_records_after_one_call(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = lambda _asked: Answer(400, problem("INVALID_FIELD", "No such column 'Fairturn_Status__c'"))
    results = salesforce.write(writes(200))
    assert {result.outcome for result in results} == {Outcome.PARK}
    assert "No such column 'Fairturn_Status__c'" in results[0].message
    assert "fairturn doctor" in results[0].message
    assert len(org.asked) == 2


def test_a_failing_trigger_is_tried_thrice(org: HttpOrg, salesforce: Salesforce) -> None:
    code = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    org.answer = collection(lambda r: failed(code) if r["Id"] in {record_id(1), record_id(3)} else {"success": True})
    results = salesforce.write(writes(5))
    assert [(n, r.tries) for n, r in enumerate(results) if r.outcome is Outcome.RETRY] == [(1, 3), (3, 3)]
    assert "debug log" in results[1].message
    assert len(org.asked) == 2


def test_a_locked_row_inside_a_trigger_is_tried_later() -> None:
    message = "RoutingTrigger: execution of BeforeUpdate caused by: UNABLE_TO_LOCK_ROW"
    assert outcome_of("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message) is Outcome.RETRY


def test_an_answer_for_other_records_is_tried_later(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = lambda _asked: Answer(body=[{"success": True}])
    with pytest.raises(TryLater):
        salesforce.write(writes(2))


# --- tokens


def test_a_revoked_token_is_replaced_once(org: HttpOrg, salesforce: Salesforce) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.headers["authorization"] == "Bearer t1":
            return Answer(401, problem("INVALID_SESSION_ID", "Session expired or invalid"))
        return Answer(body=[{"success": True}])

    org.answer = answer
    assert salesforce.write(writes(1))[0].outcome is Outcome.DONE
    assert org.logins == 2
    assert {asked.headers["sforce-call-options"] for asked in org.asked if asked.path.startswith(BASE)} == {
        "client=Fairturn"
    }


def test_tokens_refused_again_and_again_park_nothing_and_do_not_storm(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = lambda _asked: Answer(401, problem("INVALID_SESSION_ID"))
    for _ in range(10):
        with pytest.raises(TryLater):
            salesforce.write(writes(1))
    assert org.logins <= 6


def test_a_refused_login_parks_nothing(org: HttpOrg, salesforce: Salesforce) -> None:
    org.token_answer = Answer(400, {"error": "invalid_client"})
    with pytest.raises(TryLater, match="invalid_client") as caught:
        salesforce.write(writes(1))
    assert caught.value.facts["alarm"] is True


# --- whole calls


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (500, "UNKNOWN_EXCEPTION", "", TryLater),
        (503, "SERVER_UNAVAILABLE", "", TryLater),
        (429, "", "", TryLater),
        (502, "", "", TryLater),
        (400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access", TryLater),
        (400, "QUERY_TIMEOUT", "", TryLater),
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", TryLater),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.", TryLater),
        (401, "INVALID_SESSION_ID", "", OrgClosed),
        (403, "API_DISABLED_FOR_ORG", "", OrgClosed),
        (404, "NOT_FOUND", "", GiveUp),
        (400, "MALFORMED_QUERY", "", GiveUp),
        (400, "INVALID_FIELD", "", GiveUp),
        (403, "INSUFFICIENT_ACCESS", "", GiveUp),
        (410, "UNSUPPORTED_API_VERSION", "", GiveUp),
    ],
)
def test_a_failed_call_says_what_to_do_next(status: int, code: str, message: str, kind: type[Exception]) -> None:
    content: Any = problem(code, message) if code else "<html>"
    assert type(translate(SalesforceGeneralError("u", status, "r", content))) is kind


@pytest.mark.parametrize(("message", "pause_s"), [("TotalRequests Limit exceeded.", 900), ("ConcurrentRequests", 5)])
def test_a_limit_says_how_long_to_pause(org: HttpOrg, salesforce: Salesforce, message: str, pause_s: float) -> None:
    org.answer = lambda _asked: Answer(403, problem("REQUEST_LIMIT_EXCEEDED", message))
    with pytest.raises(TryLater) as caught:
        salesforce.write(writes(1))
    assert caught.value.facts["pause_s"] == pause_s


def test_retry_after_is_heard(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = lambda _asked: Answer(503, problem("SERVER_UNAVAILABLE"), {"Retry-After": "17"})
    with pytest.raises(TryLater) as caught:
        salesforce.write(writes(1))
    assert caught.value.facts["pause_s"] == 17.0


def test_an_answer_that_is_not_json_is_tried_later(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = lambda _asked: Answer(200, "<html>down for maintenance</html>")
    with pytest.raises(TryLater):
        salesforce.write(writes(1))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"error": "no list"}),
        Answer(200, [{"success": True}, "what is this"]),
        Answer(200, '\ufffd[{"success": true}'),
        Answer(200, ""),
        Answer(200, [{"success": True}], {"Content-Encoding": "gzip"}),  # and is not
        Answer(503, "<html>" + "x" * 300_000),
        Answer(200, "[" + " " * 3_000_000 + "]"),
    ],
    ids=["no list", "no record", "no JSON", "nothing", "garbled", "a long page", "too long"],
)
def test_X3_an_answer_that_cannot_be_used_is_tried_later(org: HttpOrg, answer: Answer) -> None:
    org.answer = lambda _asked: answer
    gate = Listener()
    salesforce = Salesforce(
        TokenProvider(org.url, ClientCredentials("a", "b")), FieldMap.load(), gate=gate, largest=1_000_000
    )
    with pytest.raises(TryLater):
        salesforce.write(writes(1))
    assert gate.heard[-1].startswith("failed")
    org.answer = collection(lambda _record: {"success": True})
    assert salesforce.write(writes(1))[0].outcome is Outcome.DONE  # on a sound connection


@pytest.mark.parametrize("how", ["cut", "drip"])
def test_X3_an_answer_that_is_cut_off_or_never_ends_is_tried_later(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=_half_an_answer, args=(server, how), daemon=True).start()
        tokens = TokenProvider(url, ClientCredentials("a", "b"))
        tokens._session = Session("t", url, ORG, "005000000000001AAA")
        began = time.monotonic()
        with pytest.raises(TryLater):
            Salesforce(tokens, FieldMap.load(), timeouts=(1, 0.5)).write(writes(1))
        assert time.monotonic() - began < 10


def _half_an_answer(server: socket.socket, how: str) -> None:
    with server.accept()[0] as connection:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n[{"suc')
        try:
            while how == "drip":
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return


def test_X3_a_call_that_was_spoilt_as_a_whole_is_narrowed_with_few_more_calls(
    org: HttpOrg, salesforce: Salesforce
) -> None:
    org.answer = lambda _asked: Answer(400, problem("JSON_PARSER_ERROR", "all of them"))
    results = salesforce.write(writes(200))
    assert len(org.asked) <= 1 + 1 + 2 * 24
    assert {r.outcome for r in results} <= {Outcome.PARK, Outcome.RETRY}
    assert {r.tries for r in results if r.outcome is Outcome.RETRY} == {3}


@pytest.mark.parametrize("code", ["DUPLICATE_VALUE", "INVALID_FIELD", "FIELD_CUSTOM_VALIDATION_EXCEPTION"])
def test_X3_what_is_refused_for_good_is_parked_with_what_to_do(org: HttpOrg, salesforce: Salesforce, code: str) -> None:
    org.answer = collection(lambda _record: failed(code, "No."))
    [result] = salesforce.write(writes(1))
    assert (result.outcome, result.code) == (Outcome.PARK, code)
    assert result.message.startswith("No. ")
    assert len(result.message) > 40


# --- the gate


class Listener:
    """A gate that lets all through and hears how it went."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ask(self, purpose: Purpose) -> None:
        self.heard.append(purpose)

    def passed(self, used: int | None = None, allowed: int | None = None) -> None:
        self.heard.append(f"passed {used}/{allowed}")

    def failed(self, because: str, wish_s: float = 0.0) -> None:
        self.heard.append(f"failed {wish_s:g}")


def test_I10_each_call_asks_the_gate_and_tells_how_it_went(org: HttpOrg) -> None:
    gate = Listener()
    salesforce = Salesforce(TokenProvider(org.url, ClientCredentials("a", "b")), FieldMap.load(), gate=gate)
    org.answer = lambda _asked: Answer(200, [{"success": True}], {"Sforce-Limit-Info": "api-usage=18/15000"})
    salesforce.write(writes(1))
    org.answer = lambda _asked: Answer(503, problem("SERVER_UNAVAILABLE"), {"Retry-After": "17"})
    with pytest.raises(TryLater):
        salesforce.write(writes(1))
    org.answer = lambda _asked: Answer(400, problem("QUERY_TIMEOUT"))
    with pytest.raises(TryLater):
        salesforce.limits()
    assert gate.heard == ["write", "passed 18/15000", "write", "failed 17", "read", "passed None/None"]


def test_I10_without_leave_nothing_is_called(org: HttpOrg) -> None:
    class Closed(Listener):
        def ask(self, purpose: Purpose) -> None:
            raise OrgPaused("used up")

    salesforce = Salesforce(TokenProvider(org.url, ClientCredentials("a", "b")), FieldMap.load(), gate=Closed())
    with pytest.raises(OrgPaused):
        salesforce.read([record_id(1)])
    assert org.asked == []


def test_usage_is_what_the_last_answer_told(org: HttpOrg, salesforce: Salesforce) -> None:
    assert salesforce.usage is None
    org.answer = lambda _asked: Answer(200, [{"success": True}], {"Sforce-Limit-Info": "api-usage=18/15000"})
    salesforce.write(writes(1))
    assert salesforce.usage == Usage(18, 15000)


def test_a_field_may_be_called_by_its_org(salesforce: Salesforce) -> None:
    assert salesforce.whoami().org_id == ORG


# --- reading

FIELDS = [
    "Id",
    "IsDeleted",
    "SystemModstamp",
    "CreatedDate",
    "LastModifiedById",
    "City",
    "Country",
    "Fairturn_Version__c",
]


def row(number: int, *, at: str = "2026-11-22T03:00:00.000+0000", deleted: bool = False, **more: Any) -> dict[str, Any]:
    stamp = {"SystemModstamp": at, "IsDeleted": deleted, "LastModifiedById": "005000000000001AAA"}
    return {"attributes": {"type": "Lead"}, "Id": record_id(number), **stamp, **more}


def reading(rows: Callable[[str], list[dict[str, Any]]]) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/describe"):
            return Answer(body={"fields": [{"name": name, "type": "string"} for name in FIELDS]})
        assert asked.path in {f"{BASE}/queryAll/", f"{BASE}/query/"}
        return Answer(body={"done": True, "records": rows(asked.query["q"][0])})

    return answer


def test_records_are_read_as_snapshots_with_only_fields_the_org_has(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = reading(lambda _q: [row(1, City="Albany\0"), row(2, deleted=True)])
    found = salesforce.read([record_id(1)[:15], record_id(2), record_id(3), "00Q*", record_id(1)])
    assert [(c.record_id, c.change_type) for c in found] == [
        (record_id(1), "SNAPSHOT"),
        (record_id(2), "DELETE"),
        (record_id(3), "MISSING"),
    ]
    assert found[0].body["City"] == "Albany"
    assert (found[0].commit_number, found[0].committed_at) == (0, datetime(2026, 11, 22, 3, tzinfo=UTC))
    assert found[1].body == {}
    select = org.asked[-1].query["q"][0].partition(" WHERE ")[0]
    assert select.removeprefix("SELECT ").removesuffix(" FROM Lead").split(", ") == FIELDS


def test_many_ids_are_read_200_a_query(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = reading(lambda _q: [])
    assert len(salesforce.read([record_id(n) for n in range(450)])) == 450
    assert len([asked for asked in org.asked if "queryAll" in asked.path]) == 3


def test_changes_are_paged_by_time_and_id(org: HttpOrg, salesforce: Salesforce) -> None:
    pages = iter([[row(1), row(2)], [row(3, at="2026-11-22T03:00:01.000+0000")]])
    org.answer = reading(lambda _q: next(pages))
    found = list(salesforce.changed_since(datetime(2026, 11, 22, 2, 59, 59, tzinfo=UTC), page=2))
    assert [[change.record_id for change in page] for page in found] == [[record_id(1), record_id(2)], [record_id(3)]]
    queries = [asked.query["q"][0] for asked in org.asked if "queryAll" in asked.path]
    assert "WHERE SystemModstamp >= 2026-11-22T02:59:59Z ORDER BY SystemModstamp, Id LIMIT 2" in queries[0]
    assert (
        "WHERE SystemModstamp >= 2026-11-22T03:00:00Z"
        f" AND (SystemModstamp > 2026-11-22T03:00:00Z OR Id > '{record_id(2)}') ORDER" in queries[1]
    )


def test_changes_are_read_on_from_where_an_earlier_reading_ended(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = reading(lambda _q: [])
    assert list(salesforce.changed_since(datetime(2026, 11, 22, 3, tzinfo=UTC), record_id(2))) == []
    assert f"Id > '{record_id(2)}'" in org.asked[-1].query["q"][0]


def test_open_records_are_paged_by_id_and_ask_for_no_more_than_is_compared(
    org: HttpOrg, salesforce: Salesforce
) -> None:
    born = "2026-11-22T02:00:00.000+0000"
    pages = iter([[row(1, CreatedDate=born), row(2, CreatedDate=born)], [row(3, CreatedDate=born)]])
    org.answer = reading(lambda _q: next(pages))
    first, last = salesforce.open_records(page=2)
    assert ([one.record_id for one in first], last) == ([record_id(1), record_id(2)], False)
    more, last = salesforce.open_records(record_id(2), page=2)
    assert ([one.record_id for one in more], last) == ([record_id(3)], True)
    asked = org.asked[-1]
    assert asked.path.endswith("/query/")
    after = record_id(2)
    told = f"SELECT Id, SystemModstamp, CreatedDate FROM Lead WHERE Id > '{after}' ORDER BY Id LIMIT 2"  # noqa: S608 - what is expected
    assert asked.query["q"] == [told]


def test_the_same_state_swept_twice_is_the_same_event_and_read_twice_is_not(
    org: HttpOrg, salesforce: Salesforce
) -> None:
    org.answer = reading(lambda _q: [row(1, City="Albany")])
    since = datetime(2026, 11, 22, tzinfo=UTC)
    [[first]], [[second]] = list(salesforce.changed_since(since)), list(salesforce.changed_since(since))
    assert first == second
    [one], [two] = salesforce.read([record_id(1)]), salesforce.read([record_id(1)])
    assert one.event_id != two.event_id


def test_the_org_is_described_once(org: HttpOrg, salesforce: Salesforce) -> None:
    org.answer = reading(lambda _q: [])
    for _ in range(3):
        salesforce.read([record_id(1)])
    assert len([asked for asked in org.asked if asked.path.endswith("/describe")]) == 1

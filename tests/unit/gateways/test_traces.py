"""A lead's way as a trace."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateways.traces import CollectorUnreachable, Traces, spans, trace_id
from routing.step import Step

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SELF = Resource({"service.name": "fairturn"})


def step(number: int, what: str, *, lead: int = 7, first: bool = False, **detail: object) -> Step:
    since = NOON + timedelta(seconds=number)
    return Step(
        number, lead, since, since + timedelta(seconds=1), what, is_first=first, task_id=f"task-{number}", detail=detail
    )


WAY = [step(1, "received", first=True), step(2, "offered", member=3), step(3, "written", since_received_ms=41)]


class Timeline:
    """A timeline of which nothing was shown yet."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps, self.shown = list(steps), 0

    def next(self, to_whom: str, *, limit: int = 1000) -> list[Step]:
        assert to_whom == "traces"
        return [one for one in self.steps if one.id > self.shown][:limit]

    def mark(self, to_whom: str, shown: Sequence[Step]) -> None:
        assert to_whom == "traces"
        self.shown = max([self.shown, *(one.id for one in shown)])


class Refusing(InMemorySpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def test_a_lead_is_one_trace_from_the_event_to_the_write_back() -> None:
    first, *others = spans(WAY, "here", SELF)
    assert {ids(span)[0] for span in (first, *others)} == {trace_id("here", 7)}
    assert first.parent is None
    assert all(span.parent is not None and span.parent.span_id == ids(first)[1] for span in others)
    assert [span.name for span in (first, *others)] == ["lead received", "lead offered", "lead written"]


def test_a_span_lasts_from_the_step_before_to_its_own() -> None:
    for span in spans(WAY, "here", SELF):
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time - span.start_time == 1_000_000_000


def test_a_span_names_the_task_that_flower_shows() -> None:
    offered = spans(WAY, "here", SELF)[1]
    assert offered.attributes is not None
    assert offered.attributes["celery.task_id"] == "task-2"
    assert offered.attributes["fairturn.member"] == 3


def test_a_step_shown_twice_is_the_same_span() -> None:
    assert [ids(s) for s in spans(WAY, "here", SELF)] == [ids(s) for s in spans(WAY, "here", SELF)]
    assert len({ids(s) for s in spans(WAY, "here", SELF)}) == len(WAY)


def test_a_lead_in_review_is_shown_as_an_error_with_its_reason() -> None:
    (span,) = spans([step(4, "review", reason="no_address")], "here", SELF)
    assert not span.status.is_ok
    assert span.status.description == "no_address"


def test_steps_the_collector_did_not_take_are_shown_again() -> None:
    timeline = Timeline(WAY)
    with pytest.raises(CollectorUnreachable):
        Traces(timeline, Refusing(), SELF, "here").show()
    taken = InMemorySpanExporter()
    assert Traces(timeline, taken, SELF, "here").show() == len(WAY)
    assert len(taken.get_finished_spans()) == len(WAY)
    assert Traces(timeline, taken, SELF, "here").show() == 0


def test_a_share_of_the_leads_is_traced_each_of_them_whole() -> None:
    steps = [
        step(10 * lead + k, what, lead=lead) for lead in range(400) for k, what in enumerate(("offered", "written"))
    ]
    taken = InMemorySpanExporter()
    Traces(Timeline(steps), taken, SELF, "here", share=0.25).show()
    seen = [ids(span)[0] for span in taken.get_finished_spans()]
    assert all(seen.count(trace) == 2 for trace in set(seen))
    assert 60 < len(set(seen)) < 140

"""Traces over the wire: a collector gets every step of a lead's way, once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateways.traces import Traces, trace_id
from storage.postgres.steps_shown import SETTLED_S, StepsShown
from tests.integration.routing.house import House


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """A collector's address, and (span name, lead) of what it took."""
    took: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans = (span for scope in resource.scope_spans for span in scope.spans)
                took.extend((span.name, int.from_bytes(span.trace_id, "big")) for span in spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", took
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_collector_gets_every_step_once_and_only_those_that_came_later(house: House) -> None:
    timeline = StepsShown(house.engine)
    house.member("near")
    house.lead("00Q000000000001AAA")
    house.work()
    with collector() as (address, took):
        traces = Traces.to(address, timeline, deployment="test", version="0", share=1.0)
        assert traces.show() == 0  # who comes first begins with now
        lead = house.lead("00Q000000000002AAA")
        house.work()
        assert traces.show() == 0  # a step might still be added before these
        age(house)
        assert traces.show() >= 2
        assert traces.show() == 0
        assert {name for name, _ in took} >= {"lead received", "lead offered"}
        assert {trace for _, trace in took} == {trace_id("test", lead)}


def age(house: House) -> None:
    """Let the timeline be older, as if time had passed."""
    house.run("ALTER TABLE timeline DISABLE TRIGGER never_change")
    house.run("UPDATE timeline SET at = at - CAST(:by AS interval)", by=timedelta(seconds=SETTLED_S + 1))
    house.run("ALTER TABLE timeline ENABLE TRIGGER never_change")

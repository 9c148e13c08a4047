"""Traces for a collector of OpenTelemetry: one trace a lead, one span a step of its way, from event to write-back.

The spans are made from the ledger's timeline after the fact. So they cost the work itself nothing, tell the same
story as `fairturn explain`, and hold together however a lead came along: by message, by relay or after a crash.
Trace and span ids follow from the ids of lead and step: shown twice, they are the same spans.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from routing.errors import TryLater
from routing.step import Step

__all__ = ["CollectorUnreachable", "Traces", "spans", "trace_id"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMEOUT_S = 5
_SCOPE = InstrumentationScope("fairturn")
#: Steps that leave the house, or come from outside.
_KINDS = {"received": SpanKind.CONSUMER, "written": SpanKind.CLIENT}
#: Steps that need a person.
_WRONG = frozenset({"review"})


class CollectorUnreachable(TryLater):
    """The collector of traces did not take the spans; they are shown again."""


class Sink(Protocol):
    """What the ledger knows about who was shown what: storage.postgres.steps_shown.StepsShown."""

    def next(self, to_whom: str, *, limit: int = 1000) -> list[Step]: ...
    def mark(self, to_whom: str, shown: Sequence[Step]) -> None: ...


@dataclass(frozen=True, slots=True)
class Traces:
    """Shows the timeline to a collector; `share` of the leads (0 to 1) are shown, each of them whole."""

    timeline: Sink
    exporter: SpanExporter
    resource: Resource
    deployment: str
    share: float = 1.0

    @classmethod
    def to(cls, endpoint: str, timeline: Sink, *, deployment: str, version: str, share: float) -> "Traces":
        """Traces to an OTLP/HTTP collector at its base address, such as http://collector:4318."""
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
        names = {"service.name": "fairturn", "service.version": version, "deployment.environment.name": deployment}
        return cls(timeline, exporter, Resource(names), deployment, share)

    def show(self, *, limit: int = 1000) -> int:
        """Show the steps that were not shown yet, at most so many; how many spans went out.

        Raises CollectorUnreachable, and shows the same steps next time, when the collector does not take them.
        """
        steps = self.timeline.next("traces", limit=limit)
        made = [span for span in spans(steps, self.deployment, self.resource) if _is_sampled(span, self.share)]
        if made and self.exporter.export(made) is not SpanExportResult.SUCCESS:
            raise CollectorUnreachable(spans=len(made))
        self.timeline.mark("traces", steps)
        return len(made)


def trace_id(deployment: str, lead_id: int) -> int:
    """The trace of a lead: 128 bits that anybody can compute who knows the lead."""
    return _digest(16, f"{deployment}/lead/{lead_id}")


def spans(steps: Sequence[Step], deployment: str, resource: Resource) -> list[ReadableSpan]:
    """A span a step, from the end of the step before it; a lead's first step is the parent of the others."""
    return [_span(step, deployment, resource) for step in steps]


def _span(step: Step, deployment: str, resource: Resource) -> ReadableSpan:
    trace = trace_id(deployment, step.lead_id)
    root = _context(trace, _digest(8, f"{trace}/root"))
    return ReadableSpan(
        name=f"lead {step.what}",
        context=root if step.is_first else _context(trace, _digest(8, f"{trace}/step/{step.id}")),
        parent=None if step.is_first else root,
        resource=resource,
        attributes=_attributes(step),
        kind=_KINDS.get(step.what, SpanKind.INTERNAL),
        status=Status(StatusCode.ERROR, str(step.detail.get("reason", ""))) if step.what in _WRONG else Status(),
        start_time=_ns(min(step.since, step.at)),
        end_time=_ns(step.at),
        instrumentation_scope=_SCOPE,
    )


def _attributes(step: Step) -> Mapping[str, AttributeValue]:
    named = {
        "fairturn.lead": step.lead_id,
        "fairturn.actor": step.actor,
        "celery.task_id": step.task_id,
        "fairturn.policy_version": step.policy_version,
    }
    told = {f"fairturn.{name}": value for name, value in step.detail.items()}
    return {name: value for name, value in (named | told).items() if isinstance(value, str | bool | int | float)}


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _is_sampled(span: ReadableSpan, share: float) -> bool:
    """As OpenTelemetry's TraceIdRatioBased sampler decides: by the lower 64 bits of the trace's id."""
    context = span.get_span_context()
    return context is not None and (context.trace_id & 0xFFFF_FFFF_FFFF_FFFF) < round(share * 2**64)


def _digest(size: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000

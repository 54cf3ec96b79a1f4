"""One trace from a request to what came of it: API, relay, worker, the engine's phases, publication, webhook.

A job keeps the `traceparent` of the request that made it, the caller's own if it sent one. Spans go wherever the
standard `OTEL_…` variables say; without OTEL_EXPORTER_OTLP_ENDPOINT nothing is recorded, and nothing of the SDK loaded.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACEPARENT = "traceparent"
JOB, ATTEMPT = "prunery.job.id", "prunery.job.attempt"

Attributes = Mapping[str, str | int | float]

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("prunery")


def install(part: str) -> None:
    """Have this process export its spans, if the environment says where to.

    Args:
        part: of the service, as in `prunery-api`.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, ENDPOINTS)):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    who = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", f"prunery-{part}"), SERVICE_VERSION: version("prunery")}
    provider = TracerProvider(resource=Resource.create(who))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def flush() -> None:
    """Send what was recorded; a process that is ended by a signal would take it along."""
    if flush := getattr(trace.get_tracer_provider(), "force_flush", None):
        flush()


def go_on(parent: str | None) -> None:
    """Be, in this task from here on, where a caller says that it is; but for those who are in a span already."""
    if parent is not None and trace_id() is None:
        attach(_propagator.extract({TRACEPARENT: parent}))


def traceparent() -> str | None:
    """Of the span that we are in, or of the caller's if we record none."""
    return carrier().get(TRACEPARENT)


def carrier() -> dict[str, str]:
    """The headers by which a request tells where it belongs; none if nowhere."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def trace_id() -> str | None:
    """Of the trace that we are in."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """Be in a span of this name.

    Args:
        parent: its traceparent; the span that we are in already if not given.
    """
    context = _context(parent)
    with _tracer.start_as_current_span(name, context, kind, attributes=attributes) as current:
        yield current


def begin(name: str, attributes: Attributes | None = None) -> Span:
    """A span within the one that we are in, for whoever ends it."""
    return _tracer.start_span(name, attributes=attributes)


def fail(span: Span, why: str) -> None:
    """Mark a span as having failed."""
    span.set_status(StatusCode.ERROR, why)


def _context(parent: str | None) -> Context | None:
    return None if parent is None else _propagator.extract({TRACEPARENT: parent})

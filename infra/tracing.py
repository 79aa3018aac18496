"""Traces: spans about what is sampled, by OpenTelemetry.

Contexts are explicit (``schemas.trace_context``): a span's parent is what a request, a message or
an event says, and what a span causes is given the span's context. Whether a trace is recorded is
decided where it begins, and then followed: nothing is made for what is not sampled. Without a
collector there is no ``Tracer`` at all.
"""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from infra.settings import InvalidSettings, Settings
from infra.version import code_version
from schemas.trace_context import TraceContext

FLUSH_SECONDS = 2.0  # that the end of a process waits for a collector that works
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"  # the conventions that names follow

Attributes = Mapping[str, str | int | bool]


class TraceSpan:
    """A span that is recorded, and the context for what it causes."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span, tracestate: str | None) -> None:
        """Derive the context; the trace's ``tracestate`` stays as it is."""
        own = span.get_span_context()
        ids = f"{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
        self._span = span
        self.context = TraceContext(f"00-{ids}", tracestate)

    def __enter__(self) -> Self:
        """Use the span that was started."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the span; an exception is its error."""
        self.end(None if kind is None else kind.__name__)

    def set(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        """Mark it as failed; ``error_type`` is a code or the class of an exception."""
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self, error_type: str | None = None) -> None:
        """End it, failed if ``error_type`` is given."""
        if error_type is not None:
            self.fail(error_type)
        self._span.end()


class Tracer:
    """Starts spans; callers do so only for what is sampled."""

    def __init__(self, tracer: trace.Tracer, ratio: float) -> None:
        """Record ``ratio`` (0 to 1) of the traces that begin here."""
        self._tracer = tracer
        self._ratio = ratio

    def samples_root(self) -> bool:
        """Decide whether a trace that begins here is recorded."""
        return random.random() < self._ratio  # noqa: S311 - not a secret

    def samples(self, trace: TraceContext | None) -> bool:
        """Decide whether to record what belongs to a trace, or begins one."""
        return self.samples_root() if trace is None else trace.is_sampled

    def start(
        self,
        name: str,
        kind: SpanKind,
        parent: TraceContext | None,
        attributes: Attributes,
        *,
        links: Sequence[TraceContext] = (),
        start_time: int | None = None,
    ) -> TraceSpan:
        """Start a span, as the first one of a trace if it has no parent.

        ``start_time`` is in nanoseconds since 1970, and now where it is None.
        """
        span = self._tracer.start_span(
            name,
            context=_to_context(parent),
            kind=kind,
            attributes=dict(attributes),
            links=[trace.Link(_to_span_context(link)) for link in links],
            start_time=start_time,
        )
        return TraceSpan(span, None if parent is None else parent.tracestate)


def make_unsampled_context() -> TraceContext:
    """Make the context of a trace that begins here and is not recorded.

    It goes along with what the trace causes, so that nobody decides again.
    """
    trace_id = random.getrandbits(128) or 1
    span_id = random.getrandbits(64) or 1
    return TraceContext(f"00-{trace_id:032x}-{span_id:016x}-02")


@asynccontextmanager
async def open_tracer(settings: Settings, name: str) -> AsyncIterator[Tracer | None]:
    """Open the tracer of the process called ``name``; None where traces are off.

    In the end what is left is sent, within ``FLUSH_SECONDS``. Raises ``InvalidSettings`` where the
    packages of the extra ``adrelay[otel]`` are missing.
    """
    url = settings.spans_url
    if not url:
        yield None
        return
    try:
        from infra.span_exporter import open_provider
    except ModuleNotFoundError:
        reason = "traces need more packages: install adrelay[otel], or leave the endpoint out"
        raise InvalidSettings(f"TRACES_ENDPOINT: {reason}") from None
    attributes = {
        "service.name": name,
        "service.namespace": "adrelay",
        "service.version": code_version(),
        "service.instance.id": str(uuid4()),
    }
    try:
        provider, exporter = open_provider(url, attributes)
    except (ValueError, OSError) as error:
        raise InvalidSettings(f"OTEL_EXPORTER_OTLP_*: {error}") from None
    tracer = provider.get_tracer("adrelay", schema_url=SCHEMA)
    try:
        yield Tracer(tracer, settings.traces_sample_ratio)
    finally:
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # nobody waits any longer
                loop.call_soon_threadsafe(flushed.set)

        # A daemon: it ends with the process, whatever the collector does.
        threading.Thread(target=flush, name="last spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if exporter.is_failing else FLUSH_SECONDS):
                await flushed.wait()


def _to_context(parent: TraceContext | None) -> Context:
    if parent is None:
        return Context()
    return trace.set_span_in_context(NonRecordingSpan(_to_span_context(parent)), Context())


def _to_span_context(context: TraceContext) -> SpanContext:
    state = context.tracestate
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(context.traceparent[-2:], 16)),
        trace_state=trace.TraceState.from_header([state]) if state else None,
    )

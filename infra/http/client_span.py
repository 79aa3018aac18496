"""The span of an outgoing request, by the HTTP conventions of OpenTelemetry (1.44)."""

from opentelemetry.trace import SpanKind
from yarl import URL

from infra.tracing import Tracer, TraceSpan
from schemas.trace_context import TraceContext

MIN_ERROR = 400  # from here on a client's span has failed


def start_client_span(tracer: Tracer, method: str, url: URL, trace: TraceContext) -> TraceSpan:
    """Start the span of a request; its URL is recorded without query and credentials."""
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "server.address": url.host or "",
        "server.port": url.port or 0,
        "url.full": str(url.with_query(None).with_fragment(None).with_user(None)),
    }
    return tracer.start(method, SpanKind.CLIENT, trace, attributes)


def note_status(span: TraceSpan, status: int) -> None:
    """Note the status of the response."""
    span.set("http.response.status_code", status)
    if status >= MIN_ERROR:
        span.fail(str(status))

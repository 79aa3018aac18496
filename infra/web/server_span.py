"""The span of a request, by the HTTP conventions of OpenTelemetry (1.44)."""

from dataclasses import replace

from aiohttp import web
from opentelemetry.trace import SpanKind

from infra.tracing import Tracer, TraceSpan, make_unsampled_context
from infra.web.request import RequestIds

MIN_SERVER_ERROR = 500  # from here on it is the server's error


def start_server_span(
    tracer: Tracer, request: web.Request, route: str, ids: RequestIds
) -> tuple[TraceSpan | None, RequestIds]:
    """Start the span of a request if it is sampled; gives the ids with the trace it belongs to.

    Neither the query nor any header is recorded: they may have secrets.
    """
    if not tracer.samples(ids.trace):
        return None, ids if ids.trace else replace(ids, trace=make_unsampled_context())
    attributes = {
        "http.request.method": request.method,
        "http.route": route,
        "url.path": request.rel_url.raw_path,
        "url.scheme": request.url.scheme,
        "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        "adrelay.request_id": ids.request_id,
        "adrelay.correlation_id": ids.correlation_id,
    }
    name = f"{request.method} {route}"
    span = tracer.start(name, SpanKind.SERVER, ids.trace, attributes)
    return span, replace(ids, trace=span.context)


def end_server_span(span: TraceSpan, status: int | None) -> None:
    """End the span of a request that was answered, or given up (None)."""
    if status is None:
        span.end("cancelled")
        return
    span.set("http.response.status_code", status)
    span.end(str(status) if status >= MIN_SERVER_ERROR else None)

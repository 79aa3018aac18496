"""A collector of spans: what a process exports by OTLP/HTTP, as values that a test can follow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

KINDS = {number: name.removeprefix("SPAN_KIND_") for name, number in WireSpan.SpanKind.items()}
MAX_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class ExportedSpan:
    """One span as it was exported; ids are hexadecimal, ``parent`` is empty for a first span."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]  # trace and span
    state: str
    seconds: float
    failed: bool


@dataclass
class Collector:
    """What was received; while ``status`` is not 200, it takes nothing."""

    url: str = ""
    status: int = 200
    requests: int = 0
    spans: list[ExportedSpan] = field(default_factory=list)

    def named(self, name: str) -> list[ExportedSpan]:
        """List the spans with a name."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: ExportedSpan) -> list[ExportedSpan]:
        """List the spans that a span caused."""
        place = (parent.trace, parent.id)
        return [span for span in self.spans if (span.trace, span.parent) == place]

    def orphans(self, known: Iterable[str] = ()) -> list[str]:
        """Describe parents and links that were not exported; ``known`` are ids from elsewhere."""
        ids = {(span.trace, span.id) for span in self.spans}
        outside = set(known)
        found = []
        for span in self.spans:
            references = [("link", *link) for link in span.links]
            if span.parent:
                references.append(("parent", span.trace, span.parent))
            found += [
                f"{kind} {trace}-{ref} of {span.service} {span.name!r}"
                for kind, trace, ref in references
                if (trace, ref) not in ids and ref not in outside
            ]
        return found

    async def until(self, condition: Callable[[], Any], seconds: float = 30) -> None:
        """Wait until what was received is enough; fails after ``seconds``."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    """Receive spans for the length of a block."""
    collector = Collector()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        collector.requests += 1
        if collector.status != web.HTTPOk.status_code:
            return web.Response(status=collector.status)
        collector.spans += read_spans(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/v1/traces", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def read_spans(body: bytes) -> list[ExportedSpan]:
    """Read the spans of an export."""
    exported = ExportTraceServiceRequest.FromString(body)
    return [
        _read(span, str(_values(group.resource.attributes)["service.name"]))
        for group in exported.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _read(span: Any, service: str) -> ExportedSpan:
    return ExportedSpan(
        service=service,
        name=span.name,
        kind=KINDS[span.kind],
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        state=span.trace_state,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}

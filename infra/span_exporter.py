"""Sends spans to a collector (OTLP/HTTP), in a thread that delays nothing.

Spans wait in a bounded queue: what does not fit, or what a collector does not take, is dropped.
Needs the extra ``adrelay[otel]``, so it is imported only where traces are on.
"""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

MAX_WAITING = 16_384  # spans
MAX_EXPORTED = 512  # spans of a request
INTERVAL_MILLISECONDS = 2000
MAX_LINKS = 2000  # of a batch's span: as many as a prefetch has messages

log = logging.getLogger(__name__)


class ReportingExporter(SpanExporter):
    """An exporter that logs one line when the collector fails, and one when it works again."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Send with ``exporter``."""
        self._exporter = exporter
        self.is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; what the collector does not take is dropped."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self.is_failing:
            details = {"count": len(spans)}
            log.warning("the collector takes no spans, they are dropped", extra=details)
        elif self.is_failing and not failed:
            log.info("the collector takes spans again")
        self.is_failing = failed
        return result

    def shutdown(self) -> None:
        """End what is being sent."""
        self._exporter.shutdown()


def open_provider(url: str, attributes: dict[str, str]) -> tuple[TracerProvider, ReportingExporter]:
    """Start a thread that posts spans to ``url``, about a process with these attributes.

    What is sampled is decided before a span is started, so every span is recorded.
    """
    # Its warnings repeat what ``ReportingExporter`` says once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = ReportingExporter(OTLPSpanExporter(endpoint=url))
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource.create(attributes),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_links=MAX_LINKS),
    )
    processor = BatchSpanProcessor(
        exporter,
        max_queue_size=MAX_WAITING,
        schedule_delay_millis=INTERVAL_MILLISECONDS,
        max_export_batch_size=MAX_EXPORTED,
    )
    provider.add_span_processor(processor)
    return provider, exporter

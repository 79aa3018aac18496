"""The spans of a batch, by the messaging conventions of OpenTelemetry (1.44).

A batch in which something is sampled has one consumer span, which links every sampled event to
the span that published it. The only sampled event of a batch takes that span into its own trace;
several have a span each in theirs. What an event causes, its retry and its dead letter are
given the context of its span. Nothing is made for events that are not sampled.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import time_ns
from types import TracebackType
from typing import Self

from opentelemetry.trace import SpanKind

from events.envelope import Event
from infra.errors import Snooze
from infra.messaging.batch_result import BatchResult, Work
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.message_trace import find_trace_context, put_into_trace
from infra.tracing import Tracer, TraceSpan
from schemas.trace_context import SAMPLED_ENDINGS, TraceContext

OPERATION = "process"
OUTCOME = "adrelay.outcome"


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sampled delivery, the context that its message or event names, and its place if decoded."""

    delivery: Delivery
    context: TraceContext | None
    part: list[DecodedDelivery] | None = None
    at: int = 0

    @property
    def event(self) -> Event | None:
        """The event; None for a dead letter and for what cannot be decoded."""
        found = None if self.part is None else self.part[self.at].event
        return found if isinstance(found, Event) else None


class BatchTrace:
    """The spans of one batch of a queue, from ``start`` to the end of the block."""

    def __init__(self, tracer: Tracer, queue: str) -> None:
        """Take note of the time; whether there are spans is known once events are decoded."""
        self._tracer = tracer
        self._queue = queue
        self._began = time_ns()
        self._batch: TraceSpan | None = None
        self._spans: dict[Delivery, TraceSpan] = {}

    def __enter__(self) -> Self:
        """Trace the batch that is handled inside of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the spans; an exception is the error of all."""
        failed = None if kind is None else kind.__name__
        for span in {*self._spans.values(), *([self._batch] if self._batch else [])}:
            span.end(failed)

    def start(self, work: Work) -> None:
        """Start the spans of a decoded batch, and put its sampled events into them."""
        sampled = list(self._find_sampled(work))
        if not sampled:
            return
        links = [one.context for one in sampled if one.context is not None]
        alone = sampled[0] if len(sampled) == 1 else None
        count = sum(map(len, work.parts)) + len(work.result.failed)
        self._batch = self._start(alone, {"messaging.batch.message_count": count}, links)
        for one in sampled:
            span = self._start(one, {}, [self._batch.context]) if alone is None else self._batch
            self._spans[one.delivery] = span
            one.delivery.trace = span.context
            if one.part is not None and (event := one.event) is not None:
                moved = put_into_trace(event, span.context)
                one.part[one.at] = replace(one.part[one.at], event=moved)

    def note(self, result: BatchResult) -> None:
        """Note what became of the sampled events."""
        if not self._spans:
            return
        duplicates = {item.delivery for item in result.duplicates}
        errors = {failure.delivery: failure.error for failure in result.failed}
        for delivery, span in self._spans.items():
            error = errors.get(delivery)
            if error is None:
                span.set(OUTCOME, "duplicate" if delivery in duplicates else "handled")
            elif isinstance(error, Snooze):
                span.set(OUTCOME, "snoozed")
            else:
                span.set(OUTCOME, "failed")
                span.fail(getattr(error, "code", None) or type(error).__name__)

    def _find_sampled(self, work: Work) -> Iterator[Sampled]:
        """Find the events to record: of recorded traces, or those with which one begins."""
        samples = self._tracer.samples
        for part in work.parts:
            if isinstance(part[0].event, Event):
                # The line that every event costs.
                found = [
                    at
                    for at, item in enumerate(part)
                    if (own := item.event.traceparent) is None or own.endswith(SAMPLED_ENDINGS)
                ]
                contexts = [part[at].event.trace_context for at in found]
            else:  # dead letters
                found = list(range(len(part)))
                contexts = [find_trace_context(item.delivery) for item in part]
            for at, context in zip(found, contexts, strict=True):
                if samples(context):
                    yield Sampled(part[at].delivery, context, part, at)
        for failure in work.result.failed:
            if samples(context := find_trace_context(failure.delivery)):
                yield Sampled(failure.delivery, context)

    def _start(
        self, about: Sampled | None, more: dict[str, str | int], links: list[TraceContext]
    ) -> TraceSpan:
        """Start a span: of one event, in its trace, or of the batch, in a trace of its own."""
        attributes: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": OPERATION,
            "messaging.operation.type": OPERATION,
            "messaging.destination.name": self._queue,
            **more,
        }
        parent = None
        if about is not None:
            parent = about.context
            attributes |= _describe(about)
        name = f"{OPERATION} {self._queue}"
        return self._tracer.start(
            name, SpanKind.CONSUMER, parent, attributes, links=links, start_time=self._began
        )


def _describe(about: Sampled) -> dict[str, str | int]:
    """Describe a message; what an event says costs no decoding of its properties."""
    delivery, event = about.delivery, about.event
    found: dict[str, str | int | None] = {
        "messaging.rabbitmq.destination.routing_key": delivery.routing_key,
        "adrelay.attempt": delivery.attempts + 1,
    }
    if event is not None:
        found["messaging.message.id"] = event.id
        found["messaging.message.conversation_id"] = event.correlationid or event.id
    else:
        found["messaging.message.id"] = delivery.message_id
        found["messaging.message.conversation_id"] = delivery.properties.correlation_id
    return {name: value for name, value in found.items() if value is not None}

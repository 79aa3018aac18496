"""Spans of publishing, by the messaging conventions of OpenTelemetry (1.44).

A message belongs to the trace that its headers name. What is sampled gets a producer span, whose
context replaces the one in its headers: the consumer's span is its child. Messages of one parent
that are published together have one span, so a large batch does not become a large trace.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from opentelemetry.trace import SpanKind

from infra.amqp.message import Message
from infra.errors import PublishFailed
from infra.tracing import Tracer, TraceSpan
from schemas.trace_context import SAMPLED_ENDINGS, TraceContext

OPERATION = "send"
DEFAULT_EXCHANGE = "amq.default"  # as the conventions name the exchange without a name

Group = tuple[TraceSpan, list[int]]  # a span, and the positions of its messages


class SendSpans:
    """The spans of messages that are published together inside of a block.

    ``messages`` carry the contexts of the spans; ``verdicts`` are set to what came of them.
    """

    def __init__(self, tracer: Tracer, messages: Sequence[Message]) -> None:
        """Start a span for each parent and exchange among the sampled messages."""
        positions: dict[tuple[str, str], list[int]] = {}
        for at, message in enumerate(messages):
            traceparent = message.headers.get("traceparent")
            if traceparent is not None and traceparent.endswith(SAMPLED_ENDINGS):
                positions.setdefault((message.exchange, traceparent), []).append(at)
        self.messages = messages
        self.verdicts: Sequence[PublishFailed | None] = ()
        self._groups: list[Group] = []
        if not positions:
            return
        traced = list(messages)
        for group in positions.values():
            span = _start(tracer, messages[group[0]], len(group))
            self._groups.append((span, group))
            for at in group:
                headers = {**messages[at].headers, **span.context.attributes}
                traced[at] = messages[at]._replace(headers=headers)
        self.messages = traced

    def __enter__(self) -> Self:
        """Use the spans that were started."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the spans with what came of their messages; an exception is the error of all."""
        failed = dict[int, str]()
        for at, verdict in enumerate(self.verdicts):
            if verdict is not None:
                failed[at] = type(verdict).__name__
        for span, positions in self._groups:
            first = next((failed[at] for at in positions if at in failed), None)
            span.end(first if kind is None else kind.__name__)


def _start(tracer: Tracer, message: Message, count: int) -> TraceSpan:
    exchange = message.exchange or DEFAULT_EXCHANGE
    attributes: dict[str, str | int] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": OPERATION,
        "messaging.operation.type": OPERATION,
        "messaging.destination.name": exchange,
    }
    if count > 1:
        attributes["messaging.batch.message_count"] = count
    else:
        attributes["messaging.rabbitmq.destination.routing_key"] = message.routing_key
        attributes["messaging.message.id"] = message.message_id
        if message.correlation_id:
            attributes["messaging.message.conversation_id"] = message.correlation_id
    parent = TraceContext(message.headers["traceparent"], message.headers.get("tracestate"))
    return tracer.start(f"{OPERATION} {exchange}", SpanKind.PRODUCER, parent, attributes)

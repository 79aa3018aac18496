"""Reads the trace context that a message has in its headers.

An instrumented publisher writes the context of its send span there, and so does Adrelay each time
it publishes a message. It is nearer to this delivery than what the event says, which is the
context of its origin (CloudEvents distributed tracing extension); so it comes first.
"""

from events.envelope import Event
from infra.messaging.delivery import Delivery
from schemas.trace_context import TraceContext, parse_trace_context

NAME = b"\x0btraceparent"  # as a field of a table: a short string
VALUE_AT = len(NAME) + 5  # after the type and the length of a long string


def find_trace_context(delivery: Delivery) -> TraceContext | None:
    """Find the trace context in the headers of a message; None without a valid one."""
    if NAME not in delivery.header:
        return None
    headers = delivery.headers
    return parse_trace_context(headers.get("traceparent"), headers.get("tracestate"))


def with_message_trace(event: Event, delivery: Delivery) -> Event:
    """Put an event into the trace of its message, where the message names another one."""
    header = delivery.header
    at = header.find(NAME)
    if at < 0:
        return event
    own = event.traceparent
    if own is not None and header.startswith(own.encode(), at + VALUE_AT):
        return event  # mostly, and told without decoding the headers
    found = find_trace_context(delivery)
    return event if found is None else put_into_trace(event, found)


def put_into_trace(event: Event, trace: TraceContext) -> Event:
    """Give a copy of an event that belongs to another trace, or to another span of its trace."""
    update = {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
    return event.model_copy(update=update)

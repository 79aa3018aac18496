"""The ids of a request: ``X-Request-ID``, ``X-Correlation-ID`` and the W3C trace context."""

import re
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from events.envelope import new_id
from schemas.trace_context import TraceContext, parse_trace_context

REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The ids that identify a request in responses, events, logs and traces."""

    request_id: str
    correlation_id: str
    trace: TraceContext | None

    @property
    def trace_attributes(self) -> dict[str, str]:
        """The CloudEvents attributes of every event that this request causes."""
        if self.trace is None:
            return {"correlationid": self.correlation_id}
        return {"correlationid": self.correlation_id, **self.trace.attributes}


def parse_request_ids(headers: CIMultiDictProxy[str]) -> RequestIds:
    """Read the ids from the headers.

    An id that is missing, malformed or sent twice is replaced: the request id by a new one, the
    correlation id by the request id, the trace context by None. ``tracestate`` is a list, so
    several of them are one (W3C Trace Context, section 3.3.1).
    """
    request_id = _get_single(headers, "X-Request-ID")
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = new_id()
    correlation_id = _get_single(headers, "X-Correlation-ID")
    if correlation_id is None or not REQUEST_ID.fullmatch(correlation_id):
        correlation_id = request_id
    trace = None
    if (traceparent := _get_single(headers, "traceparent")) is not None:
        trace = parse_trace_context(traceparent, ",".join(headers.getall("tracestate", ())))
    return RequestIds(request_id, correlation_id, trace)


def _get_single(headers: CIMultiDictProxy[str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None or len(headers.getall(name)) > 1 else value

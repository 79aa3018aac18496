"""The ids of a request: ``X-Request-ID``, ``X-Correlation-ID`` and ``traceparent``."""

import re
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from events.envelope import new_id

REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
# W3C Trace Context, version 00.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The ids that identify a request in responses, events, logs and traces."""

    request_id: str
    correlation_id: str
    traceparent: str | None

    @property
    def trace_attributes(self) -> dict[str, str]:
        """The CloudEvents attributes of every event that this request causes."""
        if self.traceparent is None:
            return {"correlationid": self.correlation_id}
        return {"correlationid": self.correlation_id, "traceparent": self.traceparent}


def parse_request_ids(headers: CIMultiDictProxy[str]) -> RequestIds:
    """Read the ids from the headers.

    An id that is missing, malformed or sent twice is replaced: the request id by a new one, the
    correlation id by the request id, ``traceparent`` by None.
    """
    request_id = _get_single(headers, "X-Request-ID")
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = new_id()
    correlation_id = _get_single(headers, "X-Correlation-ID")
    if correlation_id is None or not REQUEST_ID.fullmatch(correlation_id):
        correlation_id = request_id
    traceparent = _get_single(headers, "traceparent")
    if traceparent is not None and not TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    return RequestIds(request_id, correlation_id, traceparent)


def _get_single(headers: CIMultiDictProxy[str], name: str) -> str | None:
    values = headers.getall(name, ())
    return values[0] if len(values) == 1 else None

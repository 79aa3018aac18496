"""Reads a ``traceparent`` (W3C Trace Context, section 3.2), which anybody may have written."""

import re

# Any version but ff; a later one may have more after the flags.
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
SAMPLED = 0x01


def find_sampled_trace(traceparent: str | None) -> str | None:
    """Give the trace id of a ``traceparent`` that says that its trace is recorded, else None."""
    found = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None or not int(found[2], 16) & SAMPLED:
        return None
    return found[1]

"""The W3C trace context: where a request or an event belongs in a distributed trace.

W3C Trace Context, Level 1 and 2: ``traceparent`` (section 3.2) names the trace and the span that
caused what it travels with; ``tracestate`` (section 3.3) has the entries of tracing systems. Both
come from anybody, so reading them never fails: what is malformed counts as absent.
"""

import re
from typing import NamedTuple

# Names of the header fields, and of the CloudEvents attributes.
TRACE_ATTRIBUTES = ("traceparent", "tracestate")
MAX_MEMBERS = 32  # of tracestate, section 3.3.1.1
MAX_STATE_LENGTH = 512  # characters, section 3.3.1.5
LARGE_MEMBER = 128  # characters; larger members are left out first, section 3.3.1.5
KNOWN_FLAGS = 0b11  # sampled and, from level 2 on, random-trace-id; the others must be 0
SAMPLED = 0b1
SAMPLED_ENDINGS = ("1", "3")  # of a traceparent as ``parse_traceparent`` gives it

_IDS = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}"
_USUAL = re.compile(f"00-{_IDS}-0[0-3]")
_ANY = re.compile(f"(?!ff)([0-9a-f]{{2}})-({_IDS})-([0-9a-f]{{2}})(-.*)?", re.DOTALL)
_CHARACTERS = r"\x21-\x2b\x2d-\x3c\x3e-\x7e"
_MEMBER = re.compile(rf"([a-z0-9][a-z0-9_*/@-]{{0,255}})=[ {_CHARACTERS}]{{0,255}}[{_CHARACTERS}]")


class TraceContext(NamedTuple):
    """A ``traceparent`` of version 00 and its ``tracestate``, both as they are sent."""

    traceparent: str
    tracestate: str | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether the spans of this trace are recorded."""
        return self.traceparent.endswith(SAMPLED_ENDINGS)

    @property
    def trace_id(self) -> str:
        """The id of the trace: 32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """The id of the span: 16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def attributes(self) -> dict[str, str]:
        """The header fields, or the CloudEvents attributes, that carry it."""
        if self.tracestate is None:
            return {"traceparent": self.traceparent}
        return {"traceparent": self.traceparent, "tracestate": self.tracestate}


def parse_trace_context(traceparent: object, tracestate: object = None) -> TraceContext | None:
    """Read both fields; None without a valid ``traceparent``, whose ``tracestate`` means nothing.

    A malformed ``tracestate`` leaves the ``traceparent`` as it is (section 3.3).
    """
    parent = parse_traceparent(traceparent)
    return None if parent is None else TraceContext(parent, parse_tracestate(tracestate))


def parse_traceparent(value: object) -> str | None:
    """Read a ``traceparent`` of any version; gives it in version 00, or None if it is invalid.

    Of a higher version the first four fields count, and of its flags ``sampled`` (section 3.2.4).
    """
    if not isinstance(value, str):
        return None
    if _USUAL.fullmatch(value):
        return value
    found = _ANY.fullmatch(value.strip(" \t"))
    if found is None:
        return None
    version, ids, flags, more = found.groups()
    if version == "00":
        return None if more else f"00-{ids}-{int(flags, 16) & KNOWN_FLAGS:02x}"
    return f"00-{ids}-{int(flags, 16) & SAMPLED:02x}"


def parse_tracestate(value: object) -> str | None:
    """Read a ``tracestate``; gives it without blanks around its members, or None.

    It is invalid as a whole with a malformed member, a repeated key, or more than 32 members. Of
    one with more than 512 characters the large members are left out, then the last ones.
    """
    if not isinstance(value, str):
        return None
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    if not 0 < len(members) <= MAX_MEMBERS:
        return None
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match.group(1) for match in found if match is not None}
    return _shorten(members) if len(keys) == len(members) else None


def _shorten(members: list[str]) -> str | None:
    """Join members, as many as there is room for."""
    large = [at for at, member in enumerate(members) if len(member) > LARGE_MEMBER]
    while sum(map(len, members)) + len(members) - 1 > MAX_STATE_LENGTH:
        members.pop(large.pop() if large else -1)
    return ",".join(members) or None

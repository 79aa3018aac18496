"""Rejects repeated headers that have one value: proxies and libraries pick different ones.

RFC 9110, section 5.3: a sender must not repeat a header whose value is not a list. Headers that
authenticate, carry event attributes or sign a body are rejected when repeated; lists (``If-Match``,
``Prefer``, ``X-Forwarded-For``) are combined.
"""

from collections import Counter
from collections.abc import Mapping

from infra.web.errors import MAX_FIELD_ERRORS, FieldError, HttpError, invalid
from schemas.trace_context import TRACE_ATTRIBUTES

SINGLE = frozenset(
    {
        "authorization",
        "x-api-key",
        "idempotency-key",
        "content-type",
        "x-claude-signature",
    }
)
PREFIXES = ("ce-", "webhook-")
# A malformed trace context is no reason to reject a request: it counts as absent.
IGNORED = frozenset(f"ce-{name}" for name in TRACE_ATTRIBUTES)


def find_repeated_headers(headers: Mapping[str, str]) -> HttpError | None:
    """Build a 400 that names the repeated headers; None if there are none."""
    if len(set(headers)) == len(headers):  # iterating yields each name once, whatever its case
        return None
    counted = Counter(name.lower() for name, _ in headers.items())
    twice = [name for name, count in counted.items() if count > 1]
    wrong = [name for name in twice if _is_single(name)]
    if not wrong:
        return None
    return invalid(
        [FieldError(name, "must be sent once") for name in sorted(wrong)[:MAX_FIELD_ERRORS]]
    )


def _is_single(name: str) -> bool:
    return name in SINGLE or (name.startswith(PREFIXES) and name not in IGNORED)

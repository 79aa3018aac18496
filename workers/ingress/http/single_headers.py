"""Headers that have one value: sent twice, each proxy and each library would pick another one.

RFC 9110, section 5.3: a sender must not repeat a header whose value is no list. What decides
who calls, what an event says or whether a body is genuine is refused when it is repeated;
headers that are lists (``If-Match``, ``Prefer``, ``X-Forwarded-For``) are combined.
"""

from collections import Counter
from collections.abc import Mapping

from workers.ingress.http.errors import FieldError, HttpError, invalid

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


def find_repeated_headers(headers: Mapping[str, str]) -> HttpError | None:
    """Refuse with 400 headers that may stand once and do not; None when all is well."""
    if len(set(headers)) == len(headers):  # iterating gives each name once, whatever its case
        return None
    counted = Counter(name.lower() for name, _ in headers.items())
    twice = [name for name, count in counted.items() if count > 1]
    wrong = [name for name in twice if name in SINGLE or name.startswith(PREFIXES)]
    if not wrong:
        return None
    return invalid([FieldError(name, "must be sent once") for name in sorted(wrong)[:50]])

"""Rate limits as HTTP tells them: 429, and the fields that say how much is left.

``RateLimit-Policy`` and ``RateLimit`` are those of draft-ietf-httpapi-ratelimit-headers: ``q`` is
allowed in ``w`` seconds, ``r`` is left, and in ``t`` seconds there is more. ``Retry-After``
is never earlier than ``t``.
"""

import math
from collections.abc import Sequence

from infra.ratelimit.policies import COUNTERS, RateLimitStatus
from workers.ingress.http.errors import HttpError


def check_budget(status: RateLimitStatus | None) -> None:
    """Raise an ``HttpError`` (429) when a budget is spent."""
    if status is not None:
        COUNTERS[status.policy.name, "refused"].inc()
        raise too_many_requests(status)


def too_many_requests(status: RateLimitStatus) -> HttpError:
    """Refuse with 429 (RFC 6585, section 4)."""
    seconds = _seconds(status)
    return HttpError(
        429,
        "RATE_LIMITED",
        f"Too many requests; try again in {seconds} s.",
        headers={"Retry-After": str(seconds), **rate_limit_headers((status,))},
    )


def rate_limit_headers(statuses: Sequence[RateLimitStatus]) -> dict[str, str]:
    """Write both fields, with an entry for each policy."""
    policies, limits = [], []
    for status in statuses:
        policy = status.policy
        unit = ';qu="content-bytes"' if policy.unit == "bytes" else ""
        policies.append(f'"{policy.name}";q={policy.amount};w={policy.seconds}{unit}')
        limits.append(f'"{policy.name}";r={status.left};t={_seconds(status)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


def _seconds(status: RateLimitStatus) -> int:
    return max(1, math.ceil(status.wait))

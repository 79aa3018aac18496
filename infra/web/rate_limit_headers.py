"""How HTTP reports rate limits: 429, and headers that say how much is left.

``RateLimit-Policy`` and ``RateLimit`` follow draft-ietf-httpapi-ratelimit-headers: ``q`` is allowed
per ``w`` seconds, ``r`` is left, in ``t`` seconds there is more. ``Retry-After`` is never below
``t``.
"""

import math
from collections.abc import Sequence

from infra.ratelimit.policies import RateLimitStatus
from infra.web.errors import HttpError


def too_many_requests(status: RateLimitStatus) -> HttpError:
    """Build a 429 (RFC 6585, section 4)."""
    seconds = _whole_seconds(status)
    return HttpError(
        429,
        "RATE_LIMITED",
        f"Too many requests; try again in {seconds} s.",
        headers={"Retry-After": str(seconds), **rate_limit_headers((status,))},
    )


def rate_limit_headers(statuses: Sequence[RateLimitStatus]) -> dict[str, str]:
    """Build both headers, with an entry for each policy."""
    policies, limits = [], []
    for status in statuses:
        policy = status.policy
        unit = ';qu="content-bytes"' if policy.unit == "bytes" else ""
        policies.append(f'"{policy.name}";q={policy.amount};w={policy.seconds}{unit}')
        limits.append(f'"{policy.name}";r={status.left};t={_whole_seconds(status)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


def _whole_seconds(status: RateLimitStatus) -> int:
    return max(1, math.ceil(status.wait))

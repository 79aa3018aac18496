"""Rate limits as HTTP tells them: 429, and the fields that say how much is left.

``RateLimit-Policy`` and ``RateLimit`` are those of draft-ietf-httpapi-ratelimit-headers: ``q`` is
allowed in ``w`` seconds, ``r`` is left, and in ``t`` seconds there is more. ``Retry-After``
is never earlier than ``t``.
"""

import math
from collections.abc import Sequence

from infra.ratelimit.policies import METERS, Standing
from workers.ingress.http.errors import Refusal


def check_budget(standing: Standing | None) -> None:
    """Raise a ``Refusal`` (429) when a budget is spent."""
    if standing is not None:
        METERS[standing.policy.name, "refused"].inc()
        raise too_many(standing)


def too_many(standing: Standing) -> Refusal:
    """Refuse with 429 (RFC 6585, section 4)."""
    seconds = _seconds(standing)
    return Refusal(
        429,
        "RATE_LIMITED",
        f"Too many requests; try again in {seconds} s.",
        headers={"Retry-After": str(seconds), **fields((standing,))},
    )


def fields(standings: Sequence[Standing]) -> dict[str, str]:
    """Write both fields, with an entry for each policy."""
    policies, limits = [], []
    for standing in standings:
        policy = standing.policy
        unit = ';qu="content-bytes"' if policy.unit == "bytes" else ""
        policies.append(f'"{policy.name}";q={policy.amount};w={policy.seconds}{unit}')
        limits.append(f'"{policy.name}";r={standing.left};t={_seconds(standing)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


def _seconds(standing: Standing) -> int:
    return max(1, math.ceil(standing.wait))

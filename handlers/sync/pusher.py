"""Pushes campaigns to a platform: concurrently, each once, none after its lease has ended.

The deadline is counted from before the lease was taken and is checked again before each push
starts: a worker that was suspended does not start a push after resuming, because another worker
may have pushed a newer version in the meantime. A suspension between that check and the sending
remains possible; such a worker finds its lease gone afterwards and requests another push.

A failure concerns its own campaign only. But when the platform asks to wait, or its circuit
breaker is open, the pushes that have not started wait with it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from events.envelope import now
from handlers.sync.access_tokens import OwnerToken
from infra.errors import UNEXPECTED, Failure, Snooze, Transient
from infra.platforms import AdPlatform, Rejected
from infra.platforms.results import AccountUnavailable, RequestSnooze
from infra.storage.campaigns import CampaignRow
from schemas.campaigns import CampaignStatus
from schemas.trace_context import TraceContext

LEASE_SECONDS = 30.0
PUSH_TIMEOUT_SECONDS = 25.0  # pushes end before their leases do
MAX_CONCURRENT_PUSHES = 8
DEADLINE_EXCEEDED = Snooze("the platform did not get to it in time", 1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A campaign to push; ``key`` is the idempotency key."""

    campaign: CampaignRow
    key: str
    owner_token: OwnerToken | AccountUnavailable | None = None
    trace: TraceContext | None = None  # of the event that triggers the push


@dataclass(frozen=True, slots=True)
class PushResult:
    """The platform has the pushed campaign; ``started_at`` is the time before the push (UTC)."""

    platform_campaign_id: str
    status: CampaignStatus
    started_at: datetime


PushOutcome = PushResult | Rejected | Failure


async def push_all(
    requests: Sequence[PushRequest], platforms: Mapping[str, AdPlatform], until: float
) -> dict[UUID, PushOutcome]:
    """Push campaigns of one platform; returns the outcome of each by campaign, raises nothing.

    ``until`` is a time of the event loop. No push starts later, and a push that has no response
    by then is cancelled; both are snoozed.
    """
    platform_waits: list[Snooze] = []
    slots = asyncio.Semaphore(MAX_CONCURRENT_PUSHES)

    async def push(request: PushRequest) -> PushOutcome:
        # Each has its own timeout, so that nothing runs between the timeout and the push's end.
        try:
            async with asyncio.timeout_at(until), slots:
                if asyncio.get_running_loop().time() >= until:
                    return DEADLINE_EXCEEDED
                if platform_waits:
                    return platform_waits[0]
                outcome = await _push_safely(request, platforms)
        except TimeoutError:
            return DEADLINE_EXCEEDED
        if isinstance(outcome, Snooze) and not isinstance(outcome, RequestSnooze):
            platform_waits.append(outcome)
        return outcome

    outcomes = await asyncio.gather(*map(push, requests))
    if DEADLINE_EXCEEDED in outcomes:
        log.warning("pushes were cut off", extra={"count": outcomes.count(DEADLINE_EXCEEDED)})
    return {
        request.campaign.id: outcome for request, outcome in zip(requests, outcomes, strict=True)
    }


def find_rejected_tokens(
    requests: Sequence[PushRequest], outcomes: Mapping[UUID, PushOutcome]
) -> list[OwnerToken]:
    """List the owners' tokens that the platform rejected."""
    return [
        request.owner_token
        for request in requests
        if isinstance(outcomes.get(request.campaign.id), AccountUnavailable)
        and isinstance(request.owner_token, OwnerToken)
    ]


async def _push_safely(request: PushRequest, platforms: Mapping[str, AdPlatform]) -> PushOutcome:
    """Push one campaign; every failure becomes a value, so that it fails no other campaign."""
    try:
        return await _push(request, platforms[request.campaign.platform])
    except (Rejected, Failure) as outcome:
        return outcome
    except Exception as error:
        log.exception("a push failed unexpectedly")
        reason = f"unexpected {type(error).__name__} during the push"
        return Transient(reason, code=UNEXPECTED)


async def _push(request: PushRequest, platform: AdPlatform) -> PushOutcome:
    if isinstance(request.owner_token, AccountUnavailable):
        return request.owner_token
    started_at, platform = now(), platform.in_trace(request.trace)
    token = request.owner_token.token if request.owner_token else None
    row, campaign = request.campaign, request.campaign.desired_state()
    if row.deleted_at is None:
        remote = await platform.push(campaign, request.key, token)
        return PushResult(remote.platform_campaign_id, remote.status, started_at)
    known = row.platform_campaign_id
    if known is None:
        # The response to its creation may have been lost. Repeating it returns the id; the
        # campaign must not run in the meantime.
        paused = campaign.model_copy(update={"status": "paused"})
        known = (await platform.push(paused, request.key, token)).platform_campaign_id
    await platform.delete(known, request.key, token)
    return PushResult(known, "deleted", started_at)

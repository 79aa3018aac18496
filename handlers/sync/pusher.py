"""Pushes to a platform: some at a time, each once, none beyond its lease.

Time is counted from before the lease was taken, and looked at once more before a push
begins: a worker that was frozen in between begins none when it wakes, for another may have
pushed a newer version by then. What is left to chance is a freeze between that look and the
sending; whoever survives it finds its lease gone and asks for one more push.

A failure of one campaign is that campaign's alone. But when the platform asks for patience,
or is failing so often that it is left alone, the pushes not yet begun wait with it.
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
from infra.platforms.base import AccountUnavailable, RequestSnooze
from infra.storage.campaigns import CampaignRow
from schemas.campaigns import CampaignStatus

LEASE_SECONDS = 30.0
# Pushes end before their leases do.
PUSH_TIMEOUT_SECONDS = 25.0
MAX_CONCURRENT_PUSHES = 8
DEADLINE_EXCEEDED = Snooze("the platform did not get to it in time", 1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A campaign to be pushed; ``key`` is the idempotency key."""

    campaign: CampaignRow
    key: str
    owner_token: OwnerToken | AccountUnavailable | None = None


@dataclass(frozen=True, slots=True)
class PushAccepted:
    """The platform holds what was pushed; ``began`` is the moment before (UTC)."""

    platform_campaign_id: str
    status: CampaignStatus
    began: datetime


PushOutcome = PushAccepted | Rejected | Failure


async def push_all(
    pushes: Sequence[PushRequest], platforms: Mapping[str, AdPlatform], until: float
) -> dict[UUID, PushOutcome]:
    """Push campaigns of one platform; what came of each, by campaign. Raises nothing.

    ``until`` is a time of the event loop. Then no more pushes begin, and what has not been
    answered is cut off; both wait.
    """
    patience: list[Snooze] = []
    slots = asyncio.Semaphore(MAX_CONCURRENT_PUSHES)

    async def push(one: PushRequest) -> PushOutcome:
        # Each has a timeout of its own, so that nothing comes between its end and the push's.
        try:
            async with asyncio.timeout_at(until), slots:
                if asyncio.get_running_loop().time() >= until:
                    return DEADLINE_EXCEEDED
                answer = patience[0] if patience else await _answer(one, platforms)
        except TimeoutError:
            return DEADLINE_EXCEEDED
        if isinstance(answer, Snooze) and not isinstance(answer, RequestSnooze):
            patience.append(answer)
        return answer

    answers = await asyncio.gather(*map(push, pushes))
    if DEADLINE_EXCEEDED in answers:
        log.warning("pushes were cut off", extra={"count": answers.count(DEADLINE_EXCEEDED)})
    return {one.campaign.id: answer for one, answer in zip(pushes, answers, strict=True)}


def find_rejected_tokens(
    pushes: Sequence[PushRequest], answers: Mapping[UUID, PushOutcome]
) -> list[OwnerToken]:
    """List the owners' tokens that the platform did not take."""
    stuck = {i for i, answer in answers.items() if isinstance(answer, AccountUnavailable)}
    return [
        p.owner_token
        for p in pushes
        if p.campaign.id in stuck and isinstance(p.owner_token, OwnerToken)
    ]


async def _answer(one: PushRequest, platforms: Mapping[str, AdPlatform]) -> PushOutcome:
    """Push one campaign; every failure becomes a value, so that it cannot hit another."""
    try:
        return await _push(one, platforms[one.campaign.platform])
    except (Rejected, Failure) as answer:
        return answer
    except Exception as error:
        log.exception("a push failed in a way nobody thought of")
        reason = f"unexpected {type(error).__name__} during the push"
        return Transient(reason, code=UNEXPECTED)


async def _push(one: PushRequest, platform: AdPlatform) -> PushAccepted:
    if isinstance(one.owner_token, AccountUnavailable):
        raise one.owner_token
    began = now()
    token = one.owner_token.token if one.owner_token else None
    campaign, wish = one.campaign, one.campaign.desired_state()
    if campaign.deleted_at is None:
        pushed = await platform.push(wish, one.key, token)
        return PushAccepted(pushed.platform_campaign_id, pushed.status, began)
    known = campaign.platform_campaign_id
    if known is None:
        # Its creation may have been lost; to repeat it tells the id, and it must not run.
        paused = wish.model_copy(update={"status": "paused"})
        found = await platform.push(paused, one.key, token)
        known = found.platform_campaign_id
    await platform.delete(known, one.key, token)
    return PushAccepted(known, "deleted", began)

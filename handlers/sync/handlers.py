"""Sync: whatever happened to a campaign, its platform gets what its owner wants *now*.

    prepare    lock, read, lease -> push the newest version -> release, an answer for each hint
    handler    answers -> synced, sync refused

Statuses that have no order are asked for in the same lane (``handlers.sync.status_checks``).

An event is only the hint to look: several about one campaign cause one push, and one whose
version the platform holds already causes none. While a push is under way the campaign is
leased, and others wait. Where things may break:

* A worker dies after the push and before its commit: the event comes again, and the same
  version is pushed with the same idempotency key.
* A worker freezes beyond its lease, so an old version may reach the platform after a new
  one: it finds its lease gone and asks for one more push, under a key of its own. It does so
  at once and not in the handler, which is not called if another worker had the event since.
* A campaign is deleted while its creation is under way or was lost: whoever was leased once
  may exist at the platform, so its creation is repeated to learn its id, then it is deleted.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from events import CampaignStatusCheckRequested, CampaignSyncRequested
from events.envelope import Event
from events.sources import API_SOURCE
from handlers.sync import decisions
from handlers.sync.access_tokens import (
    AccountEvent,
    load_owner_tokens,
    refresh_rejected_tokens,
    request_resync_for_owner,
)
from handlers.sync.decisions import CampaignNotFound, Pushed, SyncDecision, SyncTrigger, UpToDate
from handlers.sync.permissions import restrict_sync_requests
from handlers.sync.pusher import (
    LEASE_SECONDS,
    PUSH_TIMEOUT_SECONDS,
    PushOutcome,
    PushRequest,
    find_rejected_tokens,
    push_all,
)
from handlers.sync.status_checks import StatusCheck, check_statuses, report_statuses
from infra.amqp.message import build_message
from infra.errors import Failure, Permanent, Snooze
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.campaign_leases import release_leases, take_leases
from infra.storage.campaigns import lock_campaigns
from infra.storage.operations import put_operations

SyncEvent = SyncTrigger | CampaignStatusCheckRequested | AccountEvent


async def push_campaigns(
    given: list[SyncEvent], resources: Resources, lease_seconds: float = LEASE_SECONDS
) -> list[SyncDecision | StatusCheck | AccountEvent | Failure]:
    """Push the campaigns that want it, each once; a value for every hint, in their order.

    Then platforms are asked for the statuses that are to be checked. News of owners' accounts
    are left to the handler.
    """
    hints = [hint for hint in given if isinstance(hint, SyncTrigger)]
    looked = iter(await _push(hints, resources, lease_seconds) if hints else ())
    checks = [hint for hint in given if isinstance(hint, CampaignStatusCheckRequested)]
    checked = iter(await check_statuses(checks, resources))
    return [_next(hint, looked, checked) for hint in given]


async def _push(
    hints: list[SyncTrigger], resources: Resources, lease_seconds: float
) -> list[SyncDecision | Failure]:
    async with resources.engine.begin() as tx:
        hints = await restrict_sync_requests(hints, tx)
        held = await lock_campaigns(tx, {hint.data.campaign_id for hint in hints})
        wanting = decisions.find_campaigns_to_push(hints, held)
        until = asyncio.get_running_loop().time() + PUSH_TIMEOUT_SECONDS
        leases = await take_leases(tx, wanting, lease_seconds)
        owner_tokens = await load_owner_tokens(tx, [held[i] for i in leases], resources.settings)
    pushes = [
        PushRequest(
            held[i], decisions.build_idempotency_key(held[i], wanting[i]), owner_tokens.get(i)
        )
        for i in leases
    ]
    answers = await push_all(pushes, resources.platforms, until)
    async with resources.engine.begin() as tx:
        await refresh_rejected_tokens(tx, find_rejected_tokens(pushes, answers))
        lost = leases.keys() - await release_leases(tx, list(leases.values()))
        again = [decisions.request_resync(wanting[i]) for i in lost]
        await outbox.add(tx, [build_message(event) for event in again])
    busy = wanting.keys() - leases.keys()
    kept = {i: answer for i, answer in answers.items() if i not in lost}
    return [_look(hint, held, busy, kept) for hint in hints]


async def sync_campaigns(
    given: list[SyncDecision | StatusCheck | AccountEvent], ctx: Context
) -> list[Event]:
    """Tell what platforms took, refused or said, and what became of the operations that asked.

    An owner's new account has the owner's campaigns pushed again.
    """
    values = [value for value in given if isinstance(value, SyncDecision)]
    checks = [value for value in given if isinstance(value, StatusCheck)]
    owners = [value for value in given if isinstance(value, AccountEvent)]
    answered = {v.campaign.id: v for v in reversed(values) if isinstance(v, Pushed)}
    unseen = [value for value in values if isinstance(value, CampaignNotFound)]
    asked = [v for v in values if isinstance(v.hint, CampaignSyncRequested)]
    await put_operations(
        ctx.tx, [decisions.to_operation(v) for v in asked if v.hint.source == API_SOURCE]
    )
    again = [event for hint in owners for event in await request_resync_for_owner(ctx.tx, hint)]
    told = await report_statuses(checks, ctx.tx)
    return [
        *map(decisions.to_event, answered.values()),
        *map(decisions.to_rejection, unseen),
        *again,
        *told,
    ]


def _next(
    hint: SyncEvent,
    looked: Iterator[SyncDecision | Failure],
    checked: Iterator[StatusCheck | Failure],
) -> SyncDecision | StatusCheck | AccountEvent | Failure:
    if isinstance(hint, AccountEvent):
        return hint
    return next(checked if isinstance(hint, CampaignStatusCheckRequested) else looked)


def _look(
    hint: SyncTrigger,
    held: decisions.Campaigns,
    busy: Collection[UUID],
    answers: Mapping[UUID, PushOutcome],
) -> SyncDecision | Failure:
    campaign = decisions.find_visible_campaign(hint, held)
    if campaign is None:
        asked = isinstance(hint, CampaignSyncRequested)
        return CampaignNotFound(hint) if asked else Permanent("no such campaign was ever saved")
    if campaign.id in busy:
        return Snooze("another worker is pushing this campaign", 1)
    answer = answers.get(campaign.id)
    if answer is None:
        return UpToDate(hint, campaign)
    return answer if isinstance(answer, Failure) else Pushed(hint, campaign, answer)

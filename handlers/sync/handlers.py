"""Syncs campaigns: brings each platform to the present desired state of its campaigns.

    prepare    lock, read, lease -> push the newest version -> release, one value per event
    handler    values -> events to emit, operations to complete

Events of paused accounts are skipped (``handlers.sync.skipping``). Statuses are read from the
platform in the same queue (``handlers.sync.status_checks``).

An event is only a trigger: several events about one campaign cause one push, and an event whose
version the platform has already causes none. During a push the campaign is leased, and other
workers wait. What may fail, and what happens then:

* A worker dies after the push and before its commit: the event is redelivered, and the same
  version is pushed with the same idempotency key.
* A worker is suspended beyond its lease, so an old version may reach the platform after a newer
  one: it finds its lease gone and requests another push, under a key of its own. It does so in
  ``prepare``, because the handler is not called if another worker has processed the event since.
* A campaign is deleted while its creation is in progress or its response was lost: a campaign
  that was ever leased may exist at the platform, so the create request is repeated to get its id,
  and the campaign is then deleted there.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from events import CampaignStatusCheckRequested, CampaignSyncRequested
from events.envelope import Event
from handlers.sync import decisions
from handlers.sync.access_tokens import (
    AccountEvent,
    load_owner_tokens,
    refresh_rejected_tokens,
    request_resync_for_owner,
)
from handlers.sync.decisions import SyncOutcome, SyncTrigger
from handlers.sync.permissions import restrict_sync_requests
from handlers.sync.pusher import (
    LEASE_SECONDS,
    PUSH_TIMEOUT_SECONDS,
    PushOutcome,
    PushRequest,
    find_rejected_tokens,
    push_all,
)
from handlers.sync.skipping import SkippedEvent, SyncEvent, find_skipped, keep_skipped
from handlers.sync.status_checks import StatusCheck, check_statuses, report_statuses
from infra.amqp.message import build_message
from infra.errors import Failure, Permanent, Snooze
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.campaign_leases import release_leases, take_leases
from infra.storage.campaigns import lock_campaigns
from infra.storage.operations import put_operations

SyncValue = SyncOutcome | StatusCheck | AccountEvent | SkippedEvent


async def push_campaigns(
    events: list[SyncEvent], resources: Resources, lease_seconds: float = LEASE_SECONDS
) -> list[SyncValue | Failure]:
    """Push the campaigns that need it, each once; returns a value for every event, in order.

    Then read the statuses that are to be checked. Account events are left to the handler. Events
    of paused accounts are taken out before.
    """
    skipped = await find_skipped(events, resources)
    wanted = [event for place, event in enumerate(events) if place not in skipped]
    values = iter(await _push_and_check(wanted, resources, lease_seconds))
    return [skipped[place] if place in skipped else next(values) for place in range(len(events))]


async def _push_and_check(
    events: list[SyncEvent], resources: Resources, lease_seconds: float
) -> list[SyncOutcome | StatusCheck | AccountEvent | Failure]:
    triggers = [event for event in events if isinstance(event, SyncTrigger)]
    outcomes = iter(await _push(triggers, resources, lease_seconds) if triggers else ())
    requested = [event for event in events if isinstance(event, CampaignStatusCheckRequested)]
    checks = iter(await check_statuses(requested, resources))
    return [_take_value(event, outcomes, checks) for event in events]


async def sync_campaigns(values: list[SyncValue], ctx: Context) -> list[Event]:
    """Complete operations; return the events of pushes, of status checks and of new accounts.

    A push is reported once, by the first of its triggers. An owner's newly connected account
    causes a sync request for each of the owner's campaigns.
    """
    skipped = [value for value in values if isinstance(value, SkippedEvent)]
    await keep_skipped(ctx.tx, skipped)
    ctx.note_skipped(len(skipped))
    outcomes = [value for value in values if isinstance(value, SyncOutcome)]
    checks = [value for value in values if isinstance(value, StatusCheck)]
    accounts = [value for value in values if isinstance(value, AccountEvent)]
    await put_operations(ctx.tx, [o.operation for o in outcomes if o.operation is not None])
    pushes = {o.pushed: o.event for o in reversed(outcomes) if o.pushed is not None}
    others = [o.event for o in outcomes if o.pushed is None]
    resyncs = [e for account in accounts for e in await request_resync_for_owner(ctx.tx, account)]
    reports = await report_statuses(checks, ctx.tx)
    emitted = [event for event in (*pushes.values(), *others) if event is not None]
    return [*emitted, *resyncs, *reports]


async def _push(
    triggers: list[SyncTrigger], resources: Resources, lease_seconds: float
) -> list[SyncOutcome | Failure]:
    async with resources.engine.begin() as tx:
        triggers = await restrict_sync_requests(triggers, tx)
        campaigns = await lock_campaigns(tx, {trigger.data.campaign_id for trigger in triggers})
        reasons = decisions.find_campaigns_to_push(triggers, campaigns)
        until = asyncio.get_running_loop().time() + PUSH_TIMEOUT_SECONDS
        leases = await take_leases(tx, reasons, lease_seconds)
        leased = [campaigns[campaign_id] for campaign_id in leases]
        tokens = await load_owner_tokens(tx, leased, resources.keys.encryptor)
    requests = [
        PushRequest(
            campaign,
            decisions.build_idempotency_key(campaign, reasons[campaign.id]),
            tokens.get(campaign.id),
            reasons[campaign.id].trace_context,
        )
        for campaign in leased
    ]
    outcomes = await push_all(requests, resources.platforms, until)
    async with resources.engine.begin() as tx:
        await refresh_rejected_tokens(tx, find_rejected_tokens(requests, outcomes))
        lost = leases.keys() - await release_leases(tx, list(leases.values()))
        resyncs = [decisions.request_resync(reasons[campaign_id]) for campaign_id in lost]
        await outbox.add(tx, [build_message(event) for event in resyncs])
    busy = reasons.keys() - leases.keys()
    valid = {i: outcome for i, outcome in outcomes.items() if i not in lost}
    return [_report(trigger, campaigns, busy, valid) for trigger in triggers]


def _take_value(
    event: SyncEvent,
    outcomes: Iterator[SyncOutcome | Failure],
    checks: Iterator[StatusCheck | Failure],
) -> SyncOutcome | StatusCheck | AccountEvent | Failure:
    if isinstance(event, AccountEvent):
        return event
    return next(checks if isinstance(event, CampaignStatusCheckRequested) else outcomes)


def _report(
    trigger: SyncTrigger,
    campaigns: decisions.Campaigns,
    busy: Collection[UUID],
    outcomes: Mapping[UUID, PushOutcome],
) -> SyncOutcome | Failure:
    campaign = decisions.find_visible_campaign(trigger, campaigns)
    if campaign is None:
        if isinstance(trigger, CampaignSyncRequested):
            return decisions.report_not_found(trigger)
        return Permanent("no such campaign was ever saved")
    if campaign.id in busy:
        return Snooze("another worker is pushing this campaign", 1)
    outcome = outcomes.get(campaign.id)
    if outcome is None:
        return decisions.report_up_to_date(trigger, campaign)
    if isinstance(outcome, Failure):
        return outcome
    return decisions.report_push(trigger, campaign, outcome)

"""Handlers of the campaigns worker: commands, and updates from ad platforms.

    campaigns.apply    create, update, delete requested -> saved, deleted or rejected
    campaigns.record   synced, sync rejected, status reported -> status changed

Both lock the campaigns of a batch, apply its events in memory by the rules of
``handlers.campaigns.commands`` and ``handlers.campaigns.platform_updates``, and write the changed
rows with one statement for each table. The cache is written after the commit; it compares versions
itself.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import chain
from uuid import UUID

from events import CampaignCreateRequested, CampaignStatusReported, CampaignUpdateRequested
from events.campaigns import CampaignCommand, get_campaign_id
from events.envelope import Event
from events.sources import API_SOURCE
from handlers.campaigns import commands, platform_updates
from handlers.campaigns.permissions import PermittedOwner, resolve_owners
from handlers.campaigns.platform_updates import PlatformUpdate, SyncResult
from infra.errors import Permanent, Snooze, Transient
from infra.messaging.context import Context
from infra.messaging.decoder import CLOCK_SKEW
from infra.storage.campaign_cache import put_campaigns
from infra.storage.campaigns import (
    CampaignRow,
    CampaignsById,
    find_campaign_refs,
    insert_campaigns,
    lock_campaigns,
    update_campaigns,
)
from infra.storage.operations import put_operations
from schemas.operations import OperationError
from schemas.types import Platform

# How long after its first delivery a command for an unknown campaign waits for the creation, which
# it may have overtaken.
CREATION_WAIT = timedelta(seconds=5)
# A report may overtake the push that gives its campaign a platform id.
UNKNOWN_WITHIN = 600.0  # seconds

OwnedCommand = tuple[CampaignCommand, PermittedOwner]
PlatformId = tuple[Platform, str]


async def apply_commands(events: list[CampaignCommand], ctx: Context) -> list[Event]:
    """Apply commands, several for one campaign in the order of their arrival."""
    _check_owners(events)
    owners = await resolve_owners(events, ctx.tx)
    before = await lock_campaigns(ctx.tx, {get_campaign_id(command) for command in events})
    _await_creations(events, before, ctx)
    current, caused, operations = dict(before), [], []
    for command, owner in _in_order(zip(events, owners, strict=True), before):
        campaign_id = get_campaign_id(command)
        previous = current.get(campaign_id)
        if isinstance(owner, OperationError):
            result: commands.CommandResult = owner
        else:
            result = commands.apply_command(command, previous, owner, ctx.now, ctx.arrived(command))
        if isinstance(result, CampaignRow):
            current[campaign_id] = commands.with_last_command(result, command, ctx.now)
        if result is not previous:
            caused.append(commands.to_event(command, result))
        if command.source == API_SOURCE:
            operations.append(commands.to_operation(command, result))
    await _insert(events, before, current, ctx)
    await _update(before, current, ctx)
    await put_operations(ctx.tx, operations)
    return caused


async def apply_platform_updates(events: list[PlatformUpdate], ctx: Context) -> list[Event]:
    """Apply results of pushes and reported statuses; drop those that change nothing.

    Results of pushes come first: they set the platform ids by which reports find their campaigns.
    """
    pushes = [event for event in events if not isinstance(event, CampaignStatusReported)]
    status_reports = [event for event in events if isinstance(event, CampaignStatusReported)]
    ids = {event.data.campaign_id for event in pushes}
    refs = await find_campaign_refs(ctx.tx, (), {_platform_id(event) for event in status_reports})
    before = await lock_campaigns(ctx.tx, ids.union(ref.id for ref in refs))
    _check_updates(pushes, status_reports, before, ctx)
    current = dict(before)
    causes: dict[UUID, PlatformUpdate] = {}  # the last update that changed the status
    ambiguous: dict[UUID, PlatformUpdate] = {}

    def record(event: PlatformUpdate, row: CampaignRow) -> None:
        if platform_updates.is_ambiguous(current[row.id], event):
            ambiguous[row.id] = event
        if row.status != current[row.id].status:
            causes[row.id] = event
        current[row.id] = row

    resyncs = []
    for push in pushes:
        campaign = current[push.data.campaign_id]
        if platform_updates.is_stale_push(campaign, push):
            resyncs.append(platform_updates.request_resync(push))
        record(push, platform_updates.apply_sync_result(campaign, push))
    found = _resolve_platform_ids(status_reports, current)
    for report in status_reports:
        campaign_id = found[_platform_id(report)]
        record(report, platform_updates.apply_status(current[campaign_id], report))
    for row in before.values():
        current[row.id] = platform_updates.bump_version(row, current[row.id], ctx.now)
    await _update(before, current, ctx)
    checks = [
        platform_updates.request_status_check(event, current[i]) for i, event in ambiguous.items()
    ]
    return [*platform_updates.status_changes(before, current, causes), *resyncs, *checks]


def _check_owners(events: Sequence[CampaignCommand]) -> None:
    wrong = []
    for command in events:
        try:
            commands.parse_owner(command)
        except ValueError:
            wrong.append(command)
    if wrong:
        raise Permanent("ownerid is not the id of an account", events=wrong, code="INVALID_OWNER")


def _await_creations(
    events: Sequence[CampaignCommand], before: CampaignsById, ctx: Context
) -> None:
    """Postpone commands for unknown campaigns by a second, in which their creation may arrive.

    Raises ``Snooze`` with the commands that have not waited for ``CREATION_WAIT``.
    """
    known = set(before)
    known.update(get_campaign_id(c) for c in events if isinstance(c, CampaignCreateRequested))
    early = [
        command
        for command in events
        if get_campaign_id(command) not in known and ctx.now - ctx.arrived(command) < CREATION_WAIT
    ]
    if early:
        raise Snooze("there is no such campaign yet", 1, events=early)


def _in_order(owned: Iterable[OwnedCommand], before: CampaignsById) -> list[OwnedCommand]:
    """Move updates that overtook their creation within a batch behind it."""
    known = set(before)
    ordered: list[OwnedCommand] = []
    early: dict[UUID, list[OwnedCommand]] = {}
    for one in owned:
        command, campaign_id = one[0], get_campaign_id(one[0])
        if isinstance(command, CampaignCreateRequested):
            known.add(campaign_id)
            ordered += [one, *early.pop(campaign_id, ())]
        elif isinstance(command, CampaignUpdateRequested) and campaign_id not in known:
            early.setdefault(campaign_id, []).append(one)
        else:
            ordered.append(one)
    return [*ordered, *chain.from_iterable(early.values())]


async def _insert(
    events: Sequence[CampaignCommand], before: CampaignsById, current: CampaignsById, ctx: Context
) -> None:
    new = [campaign for campaign in current.values() if campaign.id not in before]
    lost = {campaign.id for campaign in new} - await insert_campaigns(ctx.tx, new)
    if lost:
        conflicting = [command for command in events if get_campaign_id(command) in lost]
        raise Transient("another request has just created this campaign", events=conflicting)
    _write_through(new, ctx)


async def _update(before: CampaignsById, current: CampaignsById, ctx: Context) -> None:
    changed = [current[c.id] for c in before.values() if current[c.id] != c]
    await update_campaigns(ctx.tx, changed)
    _write_through(changed, ctx)


def _write_through(campaigns: Sequence[CampaignRow], ctx: Context) -> None:
    copies = [campaign.to_api() for campaign in campaigns]
    if copies:
        ctx.after_commit(lambda: put_campaigns(ctx.resources.redis, copies))


def _check_updates(
    pushes: Sequence[SyncResult],
    status_reports: Sequence[CampaignStatusReported],
    before: CampaignsById,
    ctx: Context,
) -> None:
    unsaved: list[PlatformUpdate] = []
    for event in pushes:
        campaign = before.get(event.data.campaign_id)
        if (
            campaign is None
            or campaign.platform != event.data.platform
            or campaign.desired_version < event.data.version
        ):
            unsaved.append(event)
    if unsaved:
        raise Permanent("no such version of a campaign was ever saved", events=unsaved)
    latest = ctx.now + CLOCK_SKEW
    ahead = [event for event in status_reports if (event.data.occurred_at or event.time) > latest]
    if ahead:
        raise Permanent(
            "occurred_at: more than 5 minutes ahead", events=ahead, code="TIMESTAMP_IN_FUTURE"
        )


def _resolve_platform_ids(
    status_reports: Sequence[CampaignStatusReported], current: CampaignsById
) -> dict[PlatformId, UUID]:
    found = {
        (campaign.platform, campaign.platform_campaign_id): campaign.id
        for campaign in current.values()
        if campaign.platform_campaign_id is not None
    }
    unknown = [event for event in status_reports if _platform_id(event) not in found]
    if unknown:
        reason = "no campaign has this platform_campaign_id yet"
        raise Transient(reason, events=unknown, code="UNKNOWN_CAMPAIGN", within=UNKNOWN_WITHIN)
    return found


def _platform_id(event: CampaignStatusReported) -> PlatformId:
    return event.data.platform, event.data.platform_campaign_id

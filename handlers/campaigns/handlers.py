"""Campaigns: wishes about them are granted or refused, news from their platforms recorded.

    campaigns.apply    create, update, delete requested -> saved, deleted or refused
    campaigns.record   synced, sync refused, status reported -> status changed

Both lock the campaigns of a batch, fold its events in memory by the rules of
``handlers.campaigns.commands`` and ``handlers.campaigns.platform_updates``, and write what came
out with one statement for each table. The cache is written through after the commit; it compares
versions itself.
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
from handlers.campaigns.permissions import Owner, resolve_owners
from handlers.campaigns.platform_updates import PlatformUpdate, SyncResult
from infra.errors import Permanent, Snooze, Transient
from infra.messaging.context import Context
from infra.messaging.decoder import CLOCK_SKEW
from infra.storage.campaign_cache import put_campaigns
from infra.storage.campaigns import (
    CampaignRow,
    find_campaign_refs,
    insert_campaigns,
    lock_campaigns,
    update_campaigns,
)
from infra.storage.operations import put_operations
from schemas.operations import OperationError
from schemas.types import Platform

# So long after its first delivery a change waits for the creation that it may have overtaken.
CREATION_WAIT = timedelta(seconds=5)
# A report may overtake the push that gives its campaign a platform id.
UNKNOWN_WITHIN = 600.0  # seconds

OwnedCommand = tuple[CampaignCommand, Owner]
Standing = dict[UUID, CampaignRow]
PlatformId = tuple[Platform, str]


async def apply_commands(events: list[CampaignCommand], ctx: Context) -> list[Event]:
    """Grant or refuse wishes, several about one campaign in the order of their arrival."""
    _check_owners(events)
    owners = await resolve_owners(events, ctx.tx)
    held = await lock_campaigns(ctx.tx, {get_campaign_id(wish) for wish in events})
    _await_creations(events, held, ctx)
    standing, caused, operations = dict(held), [], []
    for wish, owner in _in_order(zip(events, owners, strict=True), held):
        campaign_id = get_campaign_id(wish)
        before = standing.get(campaign_id)
        if isinstance(owner, OperationError):
            verdict: commands.CommandResult = owner
        else:
            verdict = commands.apply_command(wish, before, owner, ctx.now, ctx.arrived(wish))
        if isinstance(verdict, CampaignRow):
            standing[campaign_id] = commands.with_last_command(verdict, wish, ctx.now)
        if verdict is not before:
            caused.append(commands.to_event(wish, verdict))
        if wish.source == API_SOURCE:
            operations.append(commands.to_operation(wish, verdict))
    await _insert(events, held, standing, ctx)
    await _update(held, standing, ctx)
    await put_operations(ctx.tx, operations)
    return caused


async def apply_platform_updates(events: list[PlatformUpdate], ctx: Context) -> list[Event]:
    """Record what platforms took, refused and reported; what changes nothing is dropped.

    Pushes come first: they give the platform ids that reports are found by.
    """
    pushes = [event for event in events if not isinstance(event, CampaignStatusReported)]
    told = [event for event in events if isinstance(event, CampaignStatusReported)]
    ids = {event.data.campaign_id for event in pushes}
    named = await find_campaign_refs(ctx.tx, (), {_platform_id(event) for event in told})
    held = await lock_campaigns(ctx.tx, ids.union(name.id for name in named))
    _check(pushes, told, held, ctx)
    standing, causes, unordered = (
        dict(held),
        dict[UUID, PlatformUpdate](),
        dict[UUID, PlatformUpdate](),
    )

    def note(event: PlatformUpdate, campaign: CampaignRow) -> None:
        if platform_updates.is_ambiguous(standing[campaign.id], event):
            unordered[campaign.id] = event
        if campaign.status != standing[campaign.id].status:
            causes[campaign.id] = event
        standing[campaign.id] = campaign

    again = []
    for push in pushes:
        campaign = standing[push.data.campaign_id]
        if platform_updates.is_stale_push(campaign, push):
            again.append(platform_updates.request_resync(push))
        note(push, platform_updates.apply_sync_result(campaign, push))
    found = _find(told, standing)
    for report in told:
        campaign_id = found[_platform_id(report)]
        note(report, platform_updates.apply_status(standing[campaign_id], report))
    for before in held.values():
        standing[before.id] = platform_updates.bump_version(before, standing[before.id], ctx.now)
    await _update(held, standing, ctx)
    checks = [
        platform_updates.request_status_check(event, standing[i]) for i, event in unordered.items()
    ]
    return [*platform_updates.status_changes(held, standing, causes), *again, *checks]


def _check_owners(events: Sequence[CampaignCommand]) -> None:
    wrong = []
    for wish in events:
        try:
            commands.parse_owner(wish)
        except ValueError:
            wrong.append(wish)
    if wrong:
        raise Permanent("ownerid is not the id of an account", events=wrong, code="INVALID_OWNER")


def _await_creations(events: Sequence[CampaignCommand], held: Standing, ctx: Context) -> None:
    """Give changes of unknown campaigns a second, for their creation to come."""
    known = set(held)
    known.update(get_campaign_id(w) for w in events if isinstance(w, CampaignCreateRequested))
    early = [
        wish
        for wish in events
        if get_campaign_id(wish) not in known and ctx.now - ctx.arrived(wish) < CREATION_WAIT
    ]
    if early:
        raise Snooze("there is no such campaign yet", 1, events=early)


def _in_order(owned: Iterable[OwnedCommand], held: Standing) -> list[OwnedCommand]:
    """Put the changes that overtook their creation within a batch behind it."""
    known = set(held)
    ordered: list[OwnedCommand] = []
    early: dict[UUID, list[OwnedCommand]] = {}
    for one in owned:
        wish, campaign_id = one[0], get_campaign_id(one[0])
        if isinstance(wish, CampaignCreateRequested):
            known.add(campaign_id)
            ordered += [one, *early.pop(campaign_id, ())]
        elif isinstance(wish, CampaignUpdateRequested) and campaign_id not in known:
            early.setdefault(campaign_id, []).append(one)
        else:
            ordered.append(one)
    return [*ordered, *chain.from_iterable(early.values())]


async def _insert(
    events: Sequence[CampaignCommand], held: Standing, standing: Standing, ctx: Context
) -> None:
    new = [campaign for campaign in standing.values() if campaign.id not in held]
    lost = {campaign.id for campaign in new} - await insert_campaigns(ctx.tx, new)
    if lost:
        guilty = [wish for wish in events if get_campaign_id(wish) in lost]
        raise Transient("another request has just made this campaign", events=guilty)
    _write_through(new, ctx)


async def _update(held: Standing, standing: Standing, ctx: Context) -> None:
    changed = [standing[c.id] for c in held.values() if standing[c.id] != c]
    await update_campaigns(ctx.tx, changed)
    _write_through(changed, ctx)


def _write_through(campaigns: Sequence[CampaignRow], ctx: Context) -> None:
    shown = [campaign.to_api() for campaign in campaigns]
    if shown:
        ctx.after_commit(lambda: put_campaigns(ctx.resources.redis, shown))


def _check(
    pushes: Sequence[SyncResult],
    told: Sequence[CampaignStatusReported],
    held: Standing,
    ctx: Context,
) -> None:
    unsaved: list[PlatformUpdate] = []
    for event in pushes:
        campaign = held.get(event.data.campaign_id)
        if (
            campaign is None
            or campaign.platform != event.data.platform
            or campaign.desired_version < event.data.version
        ):
            unsaved.append(event)
    if unsaved:
        raise Permanent("no such version of a campaign was ever saved", events=unsaved)
    latest = ctx.now + CLOCK_SKEW
    ahead = [event for event in told if (event.data.occurred_at or event.time) > latest]
    if ahead:
        raise Permanent(
            "occurred_at: more than 5 minutes ahead", events=ahead, code="TIMESTAMP_IN_FUTURE"
        )


def _find(told: Sequence[CampaignStatusReported], standing: Standing) -> dict[PlatformId, UUID]:
    found = {
        (campaign.platform, campaign.platform_campaign_id): campaign.id
        for campaign in standing.values()
        if campaign.platform_campaign_id is not None
    }
    unknown = [event for event in told if _platform_id(event) not in found]
    if unknown:
        reason = "no campaign has this platform_campaign_id yet"
        raise Transient(reason, events=unknown, code="UNKNOWN_CAMPAIGN", within=UNKNOWN_WITHIN)
    return found


def _platform_id(event: CampaignStatusReported) -> PlatformId:
    return event.data.platform, event.data.platform_campaign_id

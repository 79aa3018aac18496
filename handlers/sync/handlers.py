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
from handlers.campaigns.permissions import restrict_sync_requests
from handlers.sync import decisions
from handlers.sync.access_tokens import OwnerHint, bearers_of, push_again, renew_refused
from handlers.sync.decisions import Answered, Hint, Idle, Look, Unseen
from handlers.sync.pusher import (
    LEASE_SECONDS,
    PUSH_SECONDS,
    Answer,
    Push,
    push_all,
    refused_tokens,
)
from handlers.sync.status_checks import Check, check_statuses, report_statuses
from infra.amqp.message import build_message
from infra.errors import Failure, Permanent, Snooze
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.campaign_leases import release_leases, take_leases
from infra.storage.campaigns import lock_campaigns
from infra.storage.operations import put_operations

AnyHint = Hint | CampaignStatusCheckRequested | OwnerHint


async def push_campaigns(
    given: list[AnyHint], resources: Resources, lease_seconds: float = LEASE_SECONDS
) -> list[Look | Check | OwnerHint | Failure]:
    """Push the campaigns that want it, each once; a value for every hint, in their order.

    Then platforms are asked for the statuses that are to be checked. News of owners' accounts
    are left to the handler.
    """
    hints = [hint for hint in given if isinstance(hint, Hint)]
    looked = iter(await _push(hints, resources, lease_seconds) if hints else ())
    checks = [hint for hint in given if isinstance(hint, CampaignStatusCheckRequested)]
    checked = iter(await check_statuses(checks, resources))
    return [_next(hint, looked, checked) for hint in given]


async def _push(
    hints: list[Hint], resources: Resources, lease_seconds: float
) -> list[Look | Failure]:
    async with resources.engine.begin() as tx:
        hints = await restrict_sync_requests(hints, tx)
        held = await lock_campaigns(tx, {hint.data.campaign_id for hint in hints})
        wanting = decisions.wanting(hints, held)
        until = asyncio.get_running_loop().time() + PUSH_SECONDS
        leases = await take_leases(tx, wanting, lease_seconds)
        bearers = await bearers_of(tx, [held[i] for i in leases], resources.settings)
    pushes = [Push(held[i], decisions.key(held[i], wanting[i]), bearers.get(i)) for i in leases]
    answers = await push_all(pushes, resources.platforms, until)
    async with resources.engine.begin() as tx:
        await renew_refused(tx, refused_tokens(pushes, answers))
        lost = leases.keys() - await release_leases(tx, list(leases.values()))
        again = [decisions.once_more(wanting[i]) for i in lost]
        await outbox.add(tx, [build_message(event) for event in again])
    busy = wanting.keys() - leases.keys()
    kept = {i: answer for i, answer in answers.items() if i not in lost}
    return [_look(hint, held, busy, kept) for hint in hints]


async def sync_campaigns(given: list[Look | Check | OwnerHint], ctx: Context) -> list[Event]:
    """Tell what platforms took, refused or said, and what became of the operations that asked.

    An owner's new account has the owner's campaigns pushed again.
    """
    values = [value for value in given if isinstance(value, Look)]
    checks = [value for value in given if isinstance(value, Check)]
    owners = [value for value in given if isinstance(value, OwnerHint)]
    answered = {v.campaign.id: v for v in reversed(values) if isinstance(v, Answered)}
    unseen = [value for value in values if isinstance(value, Unseen)]
    asked = [v for v in values if isinstance(v.hint, CampaignSyncRequested)]
    await put_operations(
        ctx.tx, [decisions.operation(v) for v in asked if v.hint.source == API_SOURCE]
    )
    again = [event for hint in owners for event in await push_again(ctx.tx, hint)]
    told = await report_statuses(checks, ctx.tx)
    return [*map(decisions.fact, answered.values()), *map(decisions.refusal, unseen), *again, *told]


def _next(
    hint: AnyHint, looked: Iterator[Look | Failure], checked: Iterator[Check | Failure]
) -> Look | Check | OwnerHint | Failure:
    if isinstance(hint, OwnerHint):
        return hint
    return next(checked if isinstance(hint, CampaignStatusCheckRequested) else looked)


def _look(
    hint: Hint,
    held: decisions.Campaigns,
    busy: Collection[UUID],
    answers: Mapping[UUID, Answer],
) -> Look | Failure:
    campaign = decisions.seen(hint, held)
    if campaign is None:
        asked = isinstance(hint, CampaignSyncRequested)
        return Unseen(hint) if asked else Permanent("no such campaign was ever saved")
    if campaign.id in busy:
        return Snooze("another worker is pushing this campaign", 1)
    answer = answers.get(campaign.id)
    if answer is None:
        return Idle(hint, campaign)
    return answer if isinstance(answer, Failure) else Answered(hint, campaign, answer)

"""Sync: whatever happened to a campaign, its platform gets what its owner wants *now*.

    prepare    lock, read, lease -> push the newest version -> an answer for each campaign
    handler    release the leases -> synced, sync refused

An event is only the hint to look: several about one campaign cause one push, and one whose
version the platform holds already causes none. While a push is under way the campaign is
leased, and others wait. Where things may break:

* A worker dies after the push and before its commit: the lease runs out, the event comes
  again, and the same version is pushed with the same idempotency key.
* A worker freezes beyond its lease, so an old version may reach the platform after a new
  one: it finds its lease gone and asks for one more push, under a key of its own.
* A campaign is deleted while its creation is under way or was lost: whoever was leased once
  may exist at the platform, so its creation is repeated to learn its id, then it is deleted.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from events import CampaignSyncRequested
from events.base import Event
from handlers import looks
from handlers.looks import Answered, Hint, Idle, Look, Overtaken, Unseen
from handlers.pushes import LEASE_SECONDS, Answer, Push, push_all
from handlers.wishes import API
from infra.context import Context
from infra.errors import Failure, Permanent, Snooze
from infra.resources import Resources
from infra.store.changes import lock_campaigns
from infra.store.leases import Lease, release_leases, take_leases
from infra.store.operations import put_operations


async def push_campaigns(hints: list[Hint], resources: Resources) -> list[Look | Failure]:
    """Push the campaigns that want it, each once; a value for every hint, in their order."""
    async with resources.engine.begin() as tx:
        held = await lock_campaigns(tx, {hint.data.campaign_id for hint in hints})
        wanting = looks.wanting(hints, held)
        leases = await take_leases(tx, wanting, LEASE_SECONDS)
    pushes = [Push(held[i], lease, looks.key(held[i], wanting[i])) for i, lease in leases.items()]
    answers: dict[UUID, Answer | None] = {**await push_all(pushes, resources.platforms)}
    failed = [leases[i] for i, answer in answers.items() if isinstance(answer, Failure)]
    if failed:
        async with resources.engine.begin() as tx:
            kept = await release_leases(tx, failed)
        answers |= {lease.campaign_id: None for lease in failed if lease.campaign_id not in kept}
    busy = wanting.keys() - leases.keys()
    return [_look(hint, held, busy, leases, answers) for hint in hints]


async def sync_campaigns(values: list[Look], ctx: Context) -> list[Event]:
    """Tell what platforms took or refused, and what became of the operations that asked."""
    answered = {v.campaign.id: v for v in reversed(values) if isinstance(v, Answered)}
    overtaken: dict[UUID, Answered | Overtaken] = {
        v.campaign.id: v for v in reversed(values) if isinstance(v, Overtaken)
    }
    kept = await release_leases(ctx.tx, [value.lease for value in answered.values()])
    overtaken |= {i: value for i, value in answered.items() if i not in kept}
    asked = [v for v in values if isinstance(v.hint, CampaignSyncRequested)]
    await put_operations(ctx.tx, [looks.operation(v) for v in asked if v.hint.source == API])
    return [
        *(looks.fact(value) for value in answered.values()),
        *(looks.once_more(value) for value in overtaken.values()),
        *(looks.refusal(value) for value in values if isinstance(value, Unseen)),
    ]


def _look(
    hint: Hint,
    held: looks.Campaigns,
    busy: Collection[UUID],
    leases: Mapping[UUID, Lease],
    answers: Mapping[UUID, Answer | None],
) -> Look | Failure:
    campaign = looks.seen(hint, held)
    if campaign is None:
        asked = isinstance(hint, CampaignSyncRequested)
        return Unseen(hint) if asked else Permanent("no such campaign was ever saved")
    if campaign.id in busy:
        return Snooze("another worker is pushing this campaign", 1)
    if campaign.id not in answers:
        return Idle(hint, campaign)
    answer = answers[campaign.id]
    if answer is None:
        return Overtaken(hint, campaign)
    if isinstance(answer, Failure):
        return answer
    return Answered(hint, campaign, answer, leases[campaign.id])

"""Pauses and resumes queues, platforms and accounts, for the command line and the API.

A pause loses nothing: what is accepted waits. So a queue of requests cannot be paused, which
expire, and a dead-letter queue needs no pause: filing changes nothing but what people see.

The triggers of a paused account are acknowledged as skipped (``handlers.sync.skipping``). Its
resume gives them again in one transaction: the pause is deleted first, which waits for skips
that have not committed yet, then what they have written is read.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import EVENT_TYPES, CampaignSyncRequested
from events.campaigns import CampaignSyncRequestedData
from events.envelope import decode
from events.sources import SYNC_SOURCE
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.messaging import outbox
from infra.storage.pauses import PauseTarget, delete_pause, list_pauses, pause
from infra.storage.skipped_triggers import take_skipped
from infra.storage.tables import campaigns
from schemas.types import PLATFORMS

REQUEST_QUEUES = tuple(queue.name for queue in topology.REQUEST_QUEUES)
DEAD_LETTER_QUEUES = tuple(map(topology.dead_queue, topology.WORK_QUEUE_NAMES))
BATCH_SIZE = 500  # messages that are written at a time
QUOTED_LENGTH = 100  # characters of a name in a sentence
LISTED_ACCOUNTS = 20  # in a sentence

ACCOUNTS = text("""
    select user_id::text as account from platform_accounts where platform = :platform
    union
    select owner_id::text from campaigns where platform = :platform and owner_id is not null
    order by account limit :most
""")
ACCOUNT_EXISTS = text("""
    select exists (select from platform_accounts where platform = :platform and user_id = :id)
        or exists (select from campaigns where platform = :platform and owner_id = :id)
""")


class PauseRefused(Exception):
    """Something cannot be paused or resumed; the message is a sentence that says why."""


class UnknownTarget(PauseRefused):
    """There is no such queue, platform or account."""


async def pause_target(
    tx: AsyncConnection, target: PauseTarget, *, reason: str, paused_by: str
) -> bool:
    """Pause something; False when it is paused already, by whom ``list_pauses`` says.

    Raises ``PauseRefused`` for what does not exist or cannot be paused, or without a reason.
    """
    if not reason.strip():
        raise PauseRefused("a pause needs a reason")
    await check_target(tx, target)
    return await pause(tx, target, reason=reason, paused_by=paused_by)


async def resume_target(tx: AsyncConnection, target: PauseTarget) -> bool:
    """Resume something, and give the skipped triggers of an account again.

    Returns False when it is not paused. Raises ``PauseRefused`` for what does not exist. The
    caller wakes the relay after the commit (``outbox.notify``).
    """
    if not await delete_pause(tx, target):
        await check_target(tx, target)
        return False
    if target.kind == "account":
        await _give_skipped_again(tx, target)
        await _push_newer_versions(tx, target)
    return True


async def resume_all(tx: AsyncConnection) -> Sequence[PauseTarget]:
    """Resume everything that is paused or stopped; returns what that was."""
    targets = [row.target for row in await list_pauses(tx)]
    return [target for target in targets if await resume_target(tx, target)]


async def check_target(tx: AsyncConnection, target: PauseTarget) -> None:
    """Raise ``PauseRefused`` for what does not exist or cannot be paused."""
    if target.kind == "queue":
        _check_queue(target.name)
        return
    if target.name not in PLATFORMS:
        names = ", ".join(PLATFORMS)
        raise UnknownTarget(
            f"there is no platform {_quote(target.name)}: the platforms are {names}"
        )
    if target.kind == "account":
        await _check_account(tx, target)


def _check_queue(name: str) -> None:
    if name in REQUEST_QUEUES:
        raise PauseRefused(
            f"{name} cannot be paused: requests do not wait, they would be answered with 503"
        )
    if name in DEAD_LETTER_QUEUES:
        raise PauseRefused(f"{name} cannot be paused: dead letters are filed at any time")
    if name not in topology.WORK_QUEUE_NAMES:
        names = ", ".join(topology.WORK_QUEUE_NAMES)
        raise UnknownTarget(f"there is no queue {_quote(name)}: the queues are {names}")


async def _check_account(tx: AsyncConnection, target: PauseTarget) -> None:
    user_id = _parse_id(target.account)
    asked = {"platform": target.name, "id": user_id}
    if user_id and (await tx.execute(ACCOUNT_EXISTS, asked)).scalar_one():
        return
    rows = await tx.execute(ACCOUNTS, {"platform": target.name, "most": LISTED_ACCOUNTS + 1})
    known = [row.account for row in rows]
    names = ", ".join(known[:LISTED_ACCOUNTS]) + ", ..." * (len(known) > LISTED_ACCOUNTS)
    listed = f"the accounts are {names}" if known else "it has no account"
    raise UnknownTarget(f"there is no account {_quote(target.account)} at {target.name}: {listed}")


async def _give_skipped_again(tx: AsyncConnection, target: PauseTarget) -> None:
    """Publish the skipped triggers again, under their own ids."""
    queue = f"sync.{target.name}"
    while skipped := await take_skipped(tx, queue, target.account, BATCH_SIZE):
        given = [decode(EVENT_TYPES[one.type], one.body) for one in skipped]
        await outbox.add(tx, [build_message(event) for event in given])


async def _push_newer_versions(tx: AsyncConnection, target: PauseTarget) -> None:
    """Request a push of each campaign that is newer here than at its platform."""
    # A campaign that was deleted before any push of it needs none.
    may_be_there = or_(
        campaigns.c.deleted_at.is_(None),
        campaigns.c.platform_campaign_id.is_not(None),
        campaigns.c.leased_until.is_not(None),
    )
    query = (
        select(campaigns.c.id)
        .where(
            campaigns.c.owner_id == UUID(target.account),
            campaigns.c.platform == target.name,
            campaigns.c.desired_version > campaigns.c.synced_version,
            may_be_there,
        )
        .order_by(campaigns.c.id)
    )
    ids = [campaign_id for (campaign_id,) in await tx.execute(query)]
    for start in range(0, len(ids), BATCH_SIZE):
        requests = [_request_push(target, one) for one in ids[start : start + BATCH_SIZE]]
        await outbox.add(tx, [build_message(request) for request in requests])


def _request_push(target: PauseTarget, campaign_id: UUID) -> CampaignSyncRequested:
    data = CampaignSyncRequestedData.model_validate(
        {"campaign_id": campaign_id, "platform": target.name}
    )
    return CampaignSyncRequested(source=SYNC_SOURCE, subject=str(campaign_id), data=data)


def _parse_id(text_id: str) -> UUID | None:
    try:
        parsed = UUID(text_id)
    except ValueError:
        return None
    return parsed if str(parsed) == text_id else None


def _quote(name: str) -> str:
    return repr(name[:QUOTED_LENGTH])

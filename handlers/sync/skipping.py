"""Skips the events of paused accounts: they are acknowledged now and given again on resume.

    prepare    events of paused accounts are taken out, by what the process knows of pauses
    handler    the pause is locked, so that a resume waits; what its versions do not tell is kept

An account is a user's at a platform, with tokens of its own or not. An event whose account was
resumed in the meantime is snoozed for a moment, and handled then.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import (
    CampaignDeleted,
    CampaignSaved,
    CampaignStatusCheckRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
)
from events.envelope import encode
from handlers.sync.access_tokens import AccountEvent
from handlers.sync.decisions import SyncTrigger
from infra.errors import Snooze
from infra.messaging.decoder import event_key
from infra.resources import Resources
from infra.storage.skipped_triggers import (
    SkippedTrigger,
    find_owners,
    insert_skipped,
    lock_paused_accounts,
)
from schemas.types import Platform

SyncEvent: TypeAlias = SyncTrigger | CampaignStatusCheckRequested | AccountEvent

RESUMED_SECONDS = 1.0  # until an event is handled whose account was resumed a moment ago


@dataclass(frozen=True, slots=True)
class SkippedEvent:
    """An event of a paused account, which is named by the user's id."""

    event: SyncEvent
    account: str

    @property
    def platform(self) -> Platform:
        """The platform of the account."""
        return self.event.data.platform


async def find_skipped(
    events: Sequence[SyncEvent], resources: Resources
) -> dict[int, SkippedEvent]:
    """Find the events of paused accounts, by their places; reads nothing if no account is paused.

    Raises ``Outage`` while nothing is known of pauses.
    """
    pauses = await resources.pauses.current()
    if not any(pauses.has_paused_accounts(event.data.platform) for event in events):
        return {}
    async with resources.engine.connect() as connection:
        owners = await _find_owners(connection, events)
    return {
        place: SkippedEvent(event, str(owners[place]))
        for place, event in enumerate(events)
        if place in owners and pauses.is_account_paused(event.data.platform, owners[place])
    }


async def keep_skipped(tx: AsyncConnection, skipped: Sequence[SkippedEvent]) -> None:
    """Keep what is to be given again, in the transaction of the inbox.

    Raises ``Snooze`` for the events of accounts that are not paused any longer.
    """
    by_platform: dict[Platform, list[SkippedEvent]] = defaultdict(list)
    for one in skipped:
        by_platform[one.platform].append(one)
    for platform, found in by_platform.items():
        paused = await lock_paused_accounts(tx, platform, [one.account for one in found])
        resumed = [one.event for one in found if one.account not in paused]
        if resumed:
            raise Snooze("its account was resumed a moment ago", RESUMED_SECONDS, events=resumed)
        kept = [_to_row(one) for one in found if _is_kept(one.event)]
        if kept:
            await insert_skipped(tx, f"sync.{platform}", kept)


async def _find_owners(tx: AsyncConnection, events: Sequence[SyncEvent]) -> Mapping[int, UUID]:
    """Find the owner of each event's account, by the event's place; skips unknown campaigns."""
    known: dict[int, UUID] = {}
    ids: dict[int, UUID] = {}
    names: dict[int, tuple[Platform, str]] = {}
    for place, event in enumerate(events):
        if isinstance(event, PlatformAccountConnected):
            known[place] = event.data.user_id
        elif isinstance(event, CampaignStatusCheckRequested):
            names[place] = (event.data.platform, event.data.platform_campaign_id)
        elif not isinstance(event, PlatformAccountDisconnected):
            ids[place] = event.data.campaign_id
    owners = await find_owners(tx, set(ids.values()), set(names.values()))
    known |= {place: owners[name] for place, name in names.items() if name in owners}
    return known | {place: owners[one] for place, one in ids.items() if one in owners}


def _is_kept(event: SyncEvent) -> bool:
    """Tell whether an event is to be given again; a campaign's versions tell of a new one."""
    return not isinstance(event, CampaignSaved | CampaignDeleted)


def _to_row(one: SkippedEvent) -> SkippedTrigger:
    data = one.event.data
    subject = getattr(data, "campaign_id", None) or getattr(data, "platform_campaign_id", None)
    return SkippedTrigger(
        key=event_key(one.event),
        account=one.account,
        type=one.event.type,
        source=one.event.source,
        subject=str(subject or one.account),
        body=encode(one.event),
    )

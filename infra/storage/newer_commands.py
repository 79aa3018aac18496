"""What a replayed command would overrule: the newest change of its campaign.

Commands count in the order of their arrival, so a dead one that is sent again comes after all
that has been granted since. A person is asked first (issue 10, number 15).
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import CampaignCommand, get_campaign_id
from events.envelope import Event
from infra.storage.campaigns import LastCommand, read_last_command


async def find_newer_change(
    tx: AsyncConnection, event: Event, first_failed_at: datetime
) -> LastCommand | None:
    """Find the newest change of a command's campaign, if it is newer than the command.

    That is, granted after the command first failed, or told a later time by its sender (one
    that was granted in the same moment may have come before or after). None for what is no
    command.
    """
    if not isinstance(event, CampaignCommand):
        return None
    last = await read_last_command(tx, get_campaign_id(event))
    if last is None or (last.source, last.id) == (event.source, event.id):
        return None
    is_later = event.has_time and last.time is not None and last.time > event.time
    return last if is_later or last.at > first_failed_at else None


def describe_newer_change(change: LastCommand) -> str:
    """Name a change in words for a person."""
    told = f", sent at {change.time.isoformat()}" if change.time else ""
    return (
        f"a newer change of its campaign has taken effect: {change.type} {change.id}"
        f" of {change.source}{told}, granted at {change.at.isoformat()} as version"
        f" {change.version}"
    )

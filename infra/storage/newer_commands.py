"""Finds the newer change that the replay of a dead command would overwrite.

Commands take effect in the order of their arrival, so a replayed one overwrites every command that
was accepted since it failed. The operator has to confirm that (issue 10, number 15).
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import CampaignCommand, get_campaign_id
from events.envelope import Event
from infra.storage.campaigns import LastCommand, read_last_command


async def find_newer_change(
    tx: AsyncConnection, event: Event, first_failed_at: datetime
) -> LastCommand | None:
    """Find the newest change of a command's campaign if it is newer than the command.

    It is newer when it was accepted after the command first failed, or when its sender set a later
    time (one that was accepted at the same moment may have come before or after). None for an event
    that is no command.
    """
    if not isinstance(event, CampaignCommand):
        return None
    last = await read_last_command(tx, get_campaign_id(event))
    if last is None or (last.source, last.id) == (event.source, event.id):
        return None
    is_later = event.has_time and last.time is not None and last.time > event.time
    return last if is_later or last.at > first_failed_at else None


def describe_newer_change(change: LastCommand) -> str:
    """Describe a change to an operator."""
    sent = f", sent at {change.time.isoformat()}" if change.time else ""
    return (
        f"a newer change of its campaign has taken effect: {change.type} {change.id}"
        f" of {change.source}{sent}, accepted at {change.at.isoformat()} as version"
        f" {change.version}"
    )

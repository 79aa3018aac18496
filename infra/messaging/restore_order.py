"""Divides a stretch of the event log so that the events of one campaign keep their order.

Commands, what came of them, and what platforms report lie in different queues but in one log. A
part of the log is handled kind by kind:

    commands -> raise to the versions that they led to -> reports -> raise to what these led to

A command that follows another kind for the same campaign begins a new part. Reports by the
platform's id alone have a time of their own, so for them the order does not matter.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from events import (
    CampaignDeleted,
    CampaignSaved,
    CampaignStatusChanged,
    CampaignStatusReported,
)
from events.campaigns import CampaignCommand, get_campaign_id
from infra.messaging.decoder import DecodedDelivery
from infra.storage.campaign_versions import SavedVersion

VERSION_FACTS = (CampaignSaved, CampaignDeleted, CampaignStatusChanged)


@dataclass(slots=True)
class CampaignPart:
    """A part of the log in which no campaign has a command after another kind of event."""

    commands: list[DecodedDelivery] = field(default_factory=list)
    saved: list[SavedVersion] = field(default_factory=list)
    reports: list[DecodedDelivery] = field(default_factory=list)
    changed: list[tuple[UUID, int]] = field(default_factory=list)
    settled: set[UUID] = field(default_factory=set)  # campaigns with another kind than commands

    def add(self, item: DecodedDelivery) -> bool:
        """Add the next event of the log; False when it begins a new part."""
        event = item.event
        if isinstance(event, CampaignCommand):
            if get_campaign_id(event) in self.settled:
                return False
            self.commands.append(item)
            return True
        if isinstance(event, CampaignStatusReported):
            self.reports.append(item)
            return True
        self.settled.add(event.data.campaign_id)
        if isinstance(event, CampaignSaved | CampaignDeleted):
            data = event.data
            self.saved.append(SavedVersion(data.campaign_id, data.version, event.causationid))
        elif isinstance(event, CampaignStatusChanged):
            self.changed.append((event.data.campaign_id, event.data.version))
        else:
            self.reports.append(item)
        return True


def divide_by_campaign(items: Iterable[DecodedDelivery]) -> list[CampaignPart]:
    """Divide commands, ``VERSION_FACTS`` and platform reports, in the order of the log."""
    parts: list[CampaignPart] = []
    for item in items:
        if not parts or not parts[-1].add(item):
            parts.append(CampaignPart())
            parts[-1].add(item)
    return parts

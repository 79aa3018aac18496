"""A campaign's story, and a model of what must come of it in whatever order it was told.

Commands that come at once are granted in an order that the workers choose. The versions of the
facts on the bus tell which: played in that order, one after the other and without any worker,
the commands must give what each fact says, what stands in the end, and what the platform holds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson

from events import (
    CampaignCreateRequested,
    CampaignDeleteRequested,
    CampaignMetricsReported,
    CampaignStatusReported,
    CampaignSynced,
    CampaignUpdateRequested,
)
from events.envelope import Event, now
from infra.storage.campaigns import CampaignRow
from schemas.types import to_micros
from tests.handlers.campaigns.test_any_order import newest_statuses
from tests.handlers.samples import (
    STRANGER,
    create,
    delete,
    metrics,
    status,
    stored,
    sync_request,
    update,
)

GRANTED = ("campaign.saved.v1", "campaign.deleted.v1")
REFUSED = "campaign.command_rejected.v1"
Command = CampaignCreateRequested | CampaignUpdateRequested | CampaignDeleteRequested


@dataclass
class Story:
    """What is commanded for a campaign and reported about it."""

    campaign: CampaignRow  # as reports name it
    commands: list[Command] = field(default_factory=list)
    statuses: list[CampaignStatusReported] = field(default_factory=list)
    figures: list[CampaignMetricsReported] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)

    @property
    def id(self) -> UUID:
        return self.campaign.id

    @property
    def ends(self) -> bool:
        return any(isinstance(command, CampaignDeleteRequested) for command in self.commands)

    def told(self) -> list[Event]:
        return [*self.commands, *self.statuses, *self.figures, *self.others]


def tell(dice: Random, platform_id: str, campaign_id: UUID) -> Story:
    """Make up a story; every other one ends with a deletion."""
    story = Story(stored(id=campaign_id, platform_campaign_id=platform_id))
    story.commands.append(create(campaign_id, name="first"))
    for number in range(dice.randint(4, 8)):
        change: dict[str, Any] = {"name": f"command {number}"}
        if dice.random() < 0.4:
            change["budget"] = dice.randint(1, 500)
        if dice.random() < 0.4:
            change["status"] = dice.choice(("active", "paused"))
        if dice.random() < 0.3:
            change["expected_version"] = dice.randint(1, 5)  # Rivals: one of them at most.
        story.commands.append(update(campaign_id, time=now(), **change))
    if dice.random() < 0.5:
        story.commands.append(delete(campaign_id).model_copy(update={"time": now()}))
    else:
        # The platform knows this one for sure, in the end, so it may report about it.
        for _ in range(dice.randint(0, 4)):
            at = now() + timedelta(seconds=dice.uniform(-5, 5))
            kind = dice.choice(("active", "paused", "completed"))
            story.statuses.append(status(story.campaign, kind, at, time=now()))
    for _ in range(dice.randint(2, 6)):
        story.figures.append(_figures(dice, story.campaign, by_our_id=story.ends))
    return story


def tell_more(dice: Random, story: Story, *, known: bool) -> list[Event]:
    """Go on with a story that has ended; ``known`` says whether its platform ever had it."""
    late: list[Command] = [
        create(story.id, name="risen", owner=STRANGER),
        update(story.id, name="risen", status="active", time=now()),
        delete(story.id),
    ]
    figures = [_figures(dice, story.campaign, by_our_id=not known)]
    statuses = [status(story.campaign, "active", now(), time=now())] if known else []
    others: list[Event] = [sync_request(story.campaign, source="urn:test")]
    story.commands += late
    story.figures += figures
    story.statuses += statuses
    story.others += others
    return [*late, *figures, *statuses, *others]


def _figures(dice: Random, campaign: CampaignRow, *, by_our_id: bool) -> CampaignMetricsReported:
    named = {"platform_campaign_id": None, "campaign_id": campaign.id} if by_our_id else {}
    return metrics(
        campaign,
        dice.randint(0, 50),
        clicks=dice.randint(0, 50),
        mode=dice.choice(("cumulative", "delta")),
        at=now() - timedelta(seconds=dice.randint(0, 3)),
        **named,
    )


@dataclass(frozen=True)
class Ending:
    """What stands in the end: here, and at the platform."""

    row: Any
    held: Sequence[Any]  # campaigns of the platform that refer to this one


def check_story(story: Story, bus: Sequence[Any], ending: Ending) -> None:
    """Play the commands in the order of the facts' versions and compare."""
    about = [event for event in bus if event["data"].get("campaign_id") == str(story.id)]
    facts = sorted(
        (event for event in about if event["type"] in GRANTED),
        key=lambda event: int(event["data"]["version"]),
    )
    _check_outcomes(story, facts, [event for event in about if event["type"] == REFUSED])
    last = _play(story, facts)
    changes = [event for event in about if event["type"] == "campaign.status_changed.v1"]
    assert all(event["data"]["previous"] != "deleted" for event in changes), "risen from the dead"
    row = ending.row
    assert row.desired_version == last["data"]["version"]
    if last["type"] == "campaign.deleted.v1":
        assert (row.status, row.deleted_at is not None) == ("deleted", True)
        assert ending.held == []
        return
    assert (row.deleted_at, row.synced_version) == (None, row.desired_version)
    [held] = ending.held
    for desired, budget in ((row, row.budget_micros), (held.desired, held.desired.budget_micros)):
        assert (desired.name, budget) == (last["data"]["name"], last["data"]["budget_micros"])
    assert held.desired.version == str(row.desired_version)
    assert held.desired.status == row.desired_status == last["data"]["status"]
    news: list[CampaignSynced | CampaignStatusReported] = [
        CampaignSynced.model_validate_json(orjson.dumps(event))
        for event in about
        if event["type"] == "campaign.synced.v1"
    ]
    assert row.status in newest_statuses([*news, *story.statuses])


def _check_outcomes(story: Story, facts: Sequence[Any], refused: Sequence[Any]) -> None:
    """See that no two changes have one version and that each command came to one end."""
    versions = [fact["data"]["version"] for fact in facts]
    assert len(set(versions)) == len(versions), "two changes have one version"
    ends = Counter(fact["causationid"] for fact in (*facts, *refused))
    # Every command here changes something, if it is granted.
    assert ends == Counter(command.id for command in story.commands)


def _play(story: Story, facts: Sequence[Any]) -> Any:
    """Grant the commands one by one; gives the last fact."""
    commands = {command.id: command for command in story.commands}
    reported = {report.data.status for report in story.statuses}
    first = commands[facts[0]["causationid"]]
    assert isinstance(first, CampaignCreateRequested)
    name, budget, wanted = first.data.name, to_micros(first.data.budget), "active"
    for fact in facts:
        command, data = commands[fact["causationid"]], fact["data"]
        if isinstance(command, CampaignDeleteRequested):
            assert fact is facts[-1], "something came after the deletion"
            return fact
        if isinstance(command, CampaignUpdateRequested):
            assert command.data.expected_version in (None, data["version"] - 1)
            name = command.data.name or name
            budget = budget if command.data.budget is None else to_micros(command.data.budget)
        else:
            assert fact is facts[0], "created twice"
        assert (data["name"], data["budget_micros"]) == (name, budget)
        asked = getattr(command.data, "status", None)
        # Without a command for it, what was paused or started at the platform stays so.
        assert data["status"] == asked if asked else data["status"] in {wanted, *reported}
        wanted = data["status"]
    return facts[-1]


def new_id(dice: Random) -> UUID:
    """Make a campaign id that the seed decides."""
    return UUID(int=dice.getrandbits(128), version=4)

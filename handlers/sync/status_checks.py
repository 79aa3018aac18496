"""Questions to a platform about the status of a campaign, where news of it has no order.

    prepare    lock, see who may be asked about now, note it -> ask -> a value for each hint
    handler    answers -> status reported, with the time of the question

A campaign is asked about once in ``MIN_QUERY_INTERVAL_SECONDS``, over all workers. An event older
than a question with an answer is settled by it; a younger one waits until the next may be
asked. So of a thousand repetitions of a webhook come two questions, and of none too few.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import CampaignStatusCheckRequested, CampaignStatusReported
from events.campaigns import CampaignStatusReportedData
from events.envelope import Event
from events.sources import SYNC_SOURCE
from handlers.sync.access_tokens import OwnerToken, load_owner_tokens, refresh_rejected_tokens
from infra.errors import UNEXPECTED, Failure, Permanent, Snooze, Transient
from infra.platforms import AdPlatform, Rejected
from infra.platforms.base import AccountUnavailable
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow, find_campaign_refs, lock_campaigns
from infra.storage.status_checks import (
    StatusCheckTimes,
    mark_status_answered,
    mark_status_asked,
    read_status_checks,
)
from schemas.campaigns import ReportedStatus
from schemas.types import Platform as PlatformName

MIN_QUERY_INTERVAL_SECONDS = 30.0
# All questions of a batch have answers by then, or are asked another time.
QUERY_TIMEOUT_SECONDS = 25.0
MAX_CONCURRENT_QUERIES = 8
# A webhook may overtake the push that gives its campaign a platform id.
MAX_UNKNOWN_SECONDS = 600.0  # seconds
# By so much the clocks of the ingress and of the database may differ.
MAX_CLOCK_SKEW = timedelta(seconds=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckUnnecessary:
    """Nothing is left to ask: the campaign is gone, or a later question has its answer."""

    hint: CampaignStatusCheckRequested


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """What the platform said to the question of ``asked`` (UTC): None if it knows none such."""

    hint: CampaignStatusCheckRequested
    campaign: CampaignRow
    asked: datetime
    status: ReportedStatus | None


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """A campaign that may be asked about now; ``owner_token`` is its owner's token."""

    campaign: CampaignRow
    asked: datetime
    owner_token: OwnerToken | AccountUnavailable | None


StatusCheck = CheckUnnecessary | StatusAnswer
Name = tuple[PlatformName, str]


async def check_statuses(
    hints: Sequence[CampaignStatusCheckRequested], resources: Resources
) -> list[StatusCheck | Failure]:
    """Ask platforms for statuses; a value for every hint, in their order."""
    if not hints:
        return []
    async with resources.engine.begin() as tx:
        named = await find_campaign_refs(tx, (), {_name(hint) for hint in hints})
        ids = {(one.platform, one.platform_campaign_id): one.id for one in named}
        held = await lock_campaigns(tx, ids.values())
        known = await read_status_checks(tx, held, MIN_QUERY_INTERVAL_SECONDS)
        verdicts = [_verdict(hint, ids.get(_name(hint)), held, known) for hint in hints]
        due = {v for v in verdicts if isinstance(v, UUID)}
        questions = await _questions(tx, [held[i] for i in due], resources)
    answers = await _ask_all(questions, resources.platforms)
    stuck = [
        question.owner_token
        for question in questions
        if isinstance(answers[question.campaign.id], AccountUnavailable)
        and isinstance(question.owner_token, OwnerToken)
    ]
    if stuck:
        async with resources.engine.begin() as tx:
            await refresh_rejected_tokens(tx, stuck)
    asked = {question.campaign.id: question for question in questions}
    return [
        _value(hint, asked[verdict], answers[verdict]) if isinstance(verdict, UUID) else verdict
        for hint, verdict in zip(hints, verdicts, strict=True)
    ]


async def report_statuses(checks: Sequence[StatusCheck], tx: AsyncConnection) -> list[Event]:
    """Report what platforms said, each campaign once, and note that they have answered."""
    told = {check.campaign.id: check for check in checks if isinstance(check, StatusAnswer)}
    await mark_status_answered(tx, {i: check.asked for i, check in told.items()})
    return [_report(check, check.status) for check in told.values() if check.status is not None]


def _verdict(
    hint: CampaignStatusCheckRequested,
    campaign_id: UUID | None,
    held: Mapping[UUID, CampaignRow],
    known: Mapping[UUID, StatusCheckTimes],
) -> UUID | CheckUnnecessary | Failure:
    """Name the campaign to ask about, or say why it is not asked about now."""
    if campaign_id is None:
        reason = "no campaign has this platform_campaign_id yet"
        return Transient(reason, code="UNKNOWN_CAMPAIGN", within=MAX_UNKNOWN_SECONDS)
    asked = known[campaign_id]
    if held[campaign_id].deleted_at is not None:
        return CheckUnnecessary(hint)
    if asked.answered_at is not None and hint.time + MAX_CLOCK_SKEW < asked.answered_at:
        return CheckUnnecessary(hint)
    if asked.seconds > 0:
        return Snooze("its platform was asked a moment ago", asked.seconds)
    return campaign_id


async def _questions(
    tx: AsyncConnection, campaigns: Sequence[CampaignRow], resources: Resources
) -> list[StatusQuery]:
    asked = await mark_status_asked(tx, [campaign.id for campaign in campaigns])
    owner_tokens = await load_owner_tokens(tx, campaigns, resources.settings)
    return [StatusQuery(c, asked[c.id], owner_tokens.get(c.id)) for c in campaigns]


async def _ask_all(
    questions: Sequence[StatusQuery], platforms: Mapping[str, AdPlatform]
) -> dict[UUID, ReportedStatus | Failure | None]:
    """Ask some at a time; every failure is a value, so that it cannot hit another campaign."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)
    until = asyncio.get_running_loop().time() + QUERY_TIMEOUT_SECONDS

    async def ask(one: StatusQuery) -> ReportedStatus | Failure | None:
        try:
            async with asyncio.timeout_at(until), slots:
                return await _ask(one, platforms[one.campaign.platform])
        except TimeoutError:
            return Snooze("the platform did not get to it in time", 1)
        except Rejected as refusal:
            return Permanent(f"the platform refuses to tell: {refusal}", code=refusal.code)
        except Failure as failure:
            return failure
        except Exception as error:
            log.exception("a question about a status failed in an unexpected way")
            reason = f"unexpected {type(error).__name__} during the question"
            return Transient(reason, code=UNEXPECTED)

    answers = await asyncio.gather(*map(ask, questions))
    return {one.campaign.id: answer for one, answer in zip(questions, answers, strict=True)}


async def _ask(one: StatusQuery, platform: AdPlatform) -> ReportedStatus | None:
    if isinstance(one.owner_token, AccountUnavailable):
        raise one.owner_token
    token = one.owner_token.token if one.owner_token else None
    name = one.campaign.platform_campaign_id or ""
    status = await platform.status(name, token)
    if status is None:
        details = {"campaign_id": str(one.campaign.id), "platform": one.campaign.platform}
        log.warning("the platform does not know a campaign that is not deleted", extra=details)
    return status


def _value(
    hint: CampaignStatusCheckRequested,
    question: StatusQuery,
    answer: ReportedStatus | Failure | None,
) -> StatusAnswer | Failure:
    if isinstance(answer, Failure):
        return answer
    return StatusAnswer(hint, question.campaign, question.asked, answer)


def _report(check: StatusAnswer, status: ReportedStatus) -> Event:
    """Report a status as of its question, or as of what was known then if that is later.

    The platform's clock may be ahead of ours, and what it had reported was before the question.
    """
    campaign = check.campaign
    at = max(check.asked, campaign.status_reported_at or check.asked)
    data = CampaignStatusReportedData(
        platform=campaign.platform,
        platform_campaign_id=campaign.platform_campaign_id or "",
        status=status,
        occurred_at=at,
    )
    subject = campaign.platform_campaign_id
    return CampaignStatusReported.caused_by(
        check.hint, source=SYNC_SOURCE, subject=subject, time=check.asked, data=data
    )


def _name(hint: CampaignStatusCheckRequested) -> Name:
    return hint.data.platform, hint.data.platform_campaign_id

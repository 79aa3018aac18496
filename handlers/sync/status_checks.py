"""Reads the status of a campaign from its platform, where webhooks about it have no order.

    prepare    lock, find the queries that are due, store their time -> query
               -> one value per event
    handler    answers -> status reported, with the time of the query

A campaign is queried once in ``MIN_QUERY_INTERVAL_SECONDS``, over all workers. An event that is
older than an answered query needs no query; a younger query waits until the next is due. So a
thousand repetitions of a webhook cause two queries, and no event is left without an answer.
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
from infra.platforms.results import AccountUnavailable
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow, find_campaign_refs, lock_campaigns
from infra.storage.status_checks import (
    StatusCheckTimes,
    mark_status_answered,
    mark_status_asked,
    read_status_checks,
)
from schemas.campaigns import ReportedStatus
from schemas.trace_context import TraceContext
from schemas.types import Platform as PlatformName

MIN_QUERY_INTERVAL_SECONDS = 30.0
# Queries of a batch that have no answer by then are snoozed.
QUERY_TIMEOUT_SECONDS = 25.0
MAX_CONCURRENT_QUERIES = 8
# A webhook may overtake the push that gives its campaign a platform id.
MAX_UNKNOWN_SECONDS = 600.0  # seconds
# Between the clocks of the ingress and of the database.
MAX_CLOCK_SKEW = timedelta(seconds=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckUnnecessary:
    """No query is needed: the campaign is deleted, or a later query was answered."""

    event: CampaignStatusCheckRequested


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The platform's answer to the query of ``asked`` (UTC); None if it knows no campaign."""

    event: CampaignStatusCheckRequested
    campaign: CampaignRow
    asked: datetime
    status: ReportedStatus | None


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """A campaign whose query is due, with its owner's token."""

    campaign: CampaignRow
    asked: datetime
    owner_token: OwnerToken | AccountUnavailable | None
    trace: TraceContext | None = None  # of the first event that asks for it


StatusCheck = CheckUnnecessary | StatusAnswer
StatusCheckKey = tuple[PlatformName, str]


async def check_statuses(
    events: Sequence[CampaignStatusCheckRequested], resources: Resources
) -> list[StatusCheck | Failure]:
    """Read statuses from the platforms; returns a value for every event, in order."""
    if not events:
        return []
    async with resources.engine.begin() as tx:
        refs = await find_campaign_refs(tx, (), {_key(event) for event in events})
        ids = {(ref.platform, ref.platform_campaign_id): ref.id for ref in refs}
        campaigns = await lock_campaigns(tx, ids.values())
        times = await read_status_checks(tx, campaigns, MIN_QUERY_INTERVAL_SECONDS)
        decisions = [_decide(event, ids.get(_key(event)), campaigns, times) for event in events]
        due = {
            decision: event.trace_context
            for event, decision in zip(reversed(events), reversed(decisions), strict=True)
            if isinstance(decision, UUID)
        }
        queries = await _build_queries(tx, [campaigns[i] for i in due], due, resources)
    answers = await _query_all(queries, resources.platforms)
    rejected_tokens = [
        query.owner_token
        for query in queries
        if isinstance(answers[query.campaign.id], AccountUnavailable)
        and isinstance(query.owner_token, OwnerToken)
    ]
    if rejected_tokens:
        async with resources.engine.begin() as tx:
            await refresh_rejected_tokens(tx, rejected_tokens)
    asked = {query.campaign.id: query for query in queries}
    return [
        _to_check(event, asked[decision], answers[decision])
        if isinstance(decision, UUID)
        else decision
        for event, decision in zip(events, decisions, strict=True)
    ]


async def report_statuses(checks: Sequence[StatusCheck], tx: AsyncConnection) -> list[Event]:
    """Report the statuses that platforms returned, each campaign once, and store that they did."""
    answered = {check.campaign.id: check for check in checks if isinstance(check, StatusAnswer)}
    await mark_status_answered(tx, {i: check.asked for i, check in answered.items()})
    return [_report(check, check.status) for check in answered.values() if check.status is not None]


def _decide(
    event: CampaignStatusCheckRequested,
    campaign_id: UUID | None,
    campaigns: Mapping[UUID, CampaignRow],
    times: Mapping[UUID, StatusCheckTimes],
) -> UUID | CheckUnnecessary | Failure:
    """Return the campaign to query, or why it is not queried now."""
    if campaign_id is None:
        reason = "no campaign has this platform_campaign_id yet"
        return Transient(reason, code="UNKNOWN_CAMPAIGN", within=MAX_UNKNOWN_SECONDS)
    asked = times[campaign_id]
    if campaigns[campaign_id].deleted_at is not None:
        return CheckUnnecessary(event)
    if asked.answered_at is not None and event.time + MAX_CLOCK_SKEW < asked.answered_at:
        return CheckUnnecessary(event)
    if asked.seconds > 0:
        return Snooze("its platform was queried a moment ago", asked.seconds)
    return campaign_id


async def _build_queries(
    tx: AsyncConnection,
    campaigns: Sequence[CampaignRow],
    traces: Mapping[UUID, TraceContext | None],
    resources: Resources,
) -> list[StatusQuery]:
    asked = await mark_status_asked(tx, [campaign.id for campaign in campaigns])
    owner_tokens = await load_owner_tokens(tx, campaigns, resources.keys.encryptor)
    return [StatusQuery(c, asked[c.id], owner_tokens.get(c.id), traces[c.id]) for c in campaigns]


async def _query_all(
    queries: Sequence[StatusQuery], platforms: Mapping[str, AdPlatform]
) -> dict[UUID, ReportedStatus | Failure | None]:
    """Query with limited concurrency; every failure is a value and fails no other campaign."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)
    until = asyncio.get_running_loop().time() + QUERY_TIMEOUT_SECONDS

    async def run(query: StatusQuery) -> ReportedStatus | Failure | None:
        try:
            async with asyncio.timeout_at(until), slots:
                return await _query_status(query, platforms[query.campaign.platform])
        except TimeoutError:
            return Snooze("the platform did not get to it in time", 1)
        except Rejected as rejected:
            return Permanent(f"the platform rejects the query: {rejected}", code=rejected.code)
        except Failure as failure:
            return failure
        except Exception as error:
            log.exception("a status query failed unexpectedly")
            reason = f"unexpected {type(error).__name__} during the status query"
            return Transient(reason, code=UNEXPECTED)

    answers = await asyncio.gather(*map(run, queries))
    return {query.campaign.id: answer for query, answer in zip(queries, answers, strict=True)}


async def _query_status(
    query: StatusQuery, platform: AdPlatform
) -> ReportedStatus | Failure | None:
    if isinstance(query.owner_token, AccountUnavailable):
        return query.owner_token
    token = query.owner_token.token if query.owner_token else None
    name = query.campaign.platform_campaign_id or ""
    status = await platform.in_trace(query.trace).status(name, token)
    if status is None:
        details = {"campaign_id": str(query.campaign.id), "platform": query.campaign.platform}
        log.warning("the platform does not know a campaign that is not deleted", extra=details)
    return status


def _to_check(
    event: CampaignStatusCheckRequested,
    query: StatusQuery,
    answer: ReportedStatus | Failure | None,
) -> StatusAnswer | Failure:
    if isinstance(answer, Failure):
        return answer
    return StatusAnswer(event, query.campaign, query.asked, answer)


def _report(check: StatusAnswer, status: ReportedStatus) -> Event:
    """Report a status with the time of its query, or of the last report if that is later.

    The platform's clock may be ahead of Adrelay's, and its last report was made before the query.
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
        check.event, source=SYNC_SOURCE, subject=subject, time=check.asked, data=data
    )


def _key(event: CampaignStatusCheckRequested) -> StatusCheckKey:
    return event.data.platform, event.data.platform_campaign_id

"""Queues over HTTP: their states; pause and resume of queues, platforms and accounts.

The ingress accepts whatever is paused; only what handles it stops.
"""

from functools import partial

from aiohttp import web

from infra.errors import Outage
from infra.messaging.queue_counts import get_counts
from infra.messaging.queue_overview import read_queue_overview
from infra.storage.pauses import PauseTarget
from infra.web.database import Query
from infra.web.errors import not_found, unavailable
from infra.web.pause_actions import run_pause, run_resume
from infra.web.responses import success
from schemas.escaping import escape_json
from schemas.queues import (
    PauseRequest,
    PauseResult,
    PlatformPauseRequest,
    PlatformResumeRequest,
)
from workers.ingress.api.audited_write import run_audited
from workers.ingress.api.dead_letters import QUEUE_NAME
from workers.ingress.api.platform_accounts import read_platform
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_model

SUBJECT_LENGTH = 200  # characters of what the audit log names


async def get_queues(context: RequestContext) -> web.Response:
    """List every queue with its state, and the paused platforms and accounts.

    Messages and consumers are as the relay counted them last, at ``counted_at``.
    """
    counts = await get_counts(context.state.resources.redis)
    overview = await context.read("Queues", read_queue_overview, counts)
    return _escape(success(context.request_id, overview))


async def pause_queue(context: RequestContext) -> web.Response:
    """Pause a queue: what it is sent waits, and nothing is lost."""
    request = await read_model(context.request, PauseRequest)
    return await _pause(context, PauseTarget("queue", _read_queue(context)), request.reason)


async def resume_queue(context: RequestContext) -> web.Response:
    """Resume a queue that is paused, or was stopped by its circuit breaker."""
    return await _resume(context, PauseTarget("queue", _read_queue(context)))


async def pause_platform(context: RequestContext) -> web.Response:
    """Pause a platform, or one account there: no campaign is pushed."""
    platform = read_platform(context)
    request = await read_model(context.request, PlatformPauseRequest)
    return await _pause(context, _build_target(platform, request.account), request.reason)


async def resume_platform(context: RequestContext) -> web.Response:
    """Resume a platform, or one account there, whose skipped events are given again.

    A request without a body resumes the platform.
    """
    platform = read_platform(context)
    request = PlatformResumeRequest()
    if context.request.can_read_body:
        request = await read_model(context.request, PlatformResumeRequest)
    return await _resume(context, _build_target(platform, request.account))


async def _pause(context: RequestContext, target: PauseTarget, reason: str) -> web.Response:
    by = context.principal.name
    action = partial(run_pause, target=target, reason=reason, paused_by=by)
    return await _run(context, "pause", target, action)


async def _resume(context: RequestContext, target: PauseTarget) -> web.Response:
    return await _run(context, "resume", target, partial(run_resume, target=target))


async def _run(
    context: RequestContext, verb: str, target: PauseTarget, action: Query[[], PauseResult]
) -> web.Response:
    """Run an audited action and respond with its result."""
    subject = str(target)[:SUBJECT_LENGTH]
    try:
        result = await run_audited(context, f"{target.kind}.{verb}", subject, action)
    except Outage:
        raise unavailable("Nothing can be paused or resumed right now.") from None
    return _escape(success(context.request_id, result))


def _build_target(platform: str, account: object | None) -> PauseTarget:
    if account is None:
        return PauseTarget("platform", platform)
    return PauseTarget("account", platform, str(account))


def _read_queue(context: RequestContext) -> str:
    name = context.request.match_info["queue"]
    if not QUEUE_NAME.fullmatch(name):
        raise not_found("queue")
    return name


def _escape(response: web.Response) -> web.Response:
    """Escape control characters in a response: a reason is what a person wrote."""
    if isinstance(response.body, bytes):
        response.body = escape_json(response.body)
    return response

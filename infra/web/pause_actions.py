"""Pauses and resumes for processes that serve HTTP: refusals become responses."""

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging.pause_commands import (
    PauseRefused,
    UnknownTarget,
    pause_target,
    resume_target,
)
from infra.messaging.queue_overview import summarize_pause
from infra.storage.pauses import PauseTarget, find_pause
from infra.web.errors import HttpError
from schemas.queues import PauseResult


async def run_pause(
    tx: AsyncConnection, *, target: PauseTarget, reason: str, paused_by: str
) -> PauseResult:
    """Pause something; raises an ``HttpError``: 404, or 409 for what cannot be paused."""
    try:
        changed = await pause_target(tx, target, reason=reason, paused_by=paused_by)
    except PauseRefused as refused:
        raise _to_http_error(refused) from None
    return await _build_result(tx, target, changed=changed)


async def run_resume(tx: AsyncConnection, *, target: PauseTarget) -> PauseResult:
    """Resume something; raises an ``HttpError``: 404, or 409 for what is never paused."""
    try:
        changed = await resume_target(tx, target)
    except PauseRefused as refused:
        raise _to_http_error(refused) from None
    return await _build_result(tx, target, changed=changed)


async def _build_result(tx: AsyncConnection, target: PauseTarget, *, changed: bool) -> PauseResult:
    row = await find_pause(tx, target)
    return PauseResult(
        kind=target.kind,
        name=target.name,
        account=target.account or None,
        changed=changed,
        pause=None if row is None else summarize_pause(row),
    )


def _to_http_error(refused: PauseRefused) -> HttpError:
    message = f"It was not done: {refused}."
    if isinstance(refused, UnknownTarget):
        return HttpError(404, "NOT_FOUND", message)
    return HttpError(409, "CONFLICT", message)

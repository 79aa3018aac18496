"""Pauses and resumes that a form of a page asks for, each with its entry in the audit log."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import get_args

from infra.storage.pauses import REASON_LENGTH, PauseKind, PauseTarget
from infra.web.errors import HttpError
from infra.web.pause_actions import run_pause, run_resume
from schemas.queues import PauseResult
from workers.ops.format import format_time
from workers.ops.request import ConsoleRequest

MIN_REASON = 8  # characters
SUBJECT_LENGTH = 200  # characters of what the audit log names
CONFLICT, UNPROCESSABLE = 409, 422
TOO_SHORT = "Not paused: a reason has {least} characters or more, at most {most}."


@dataclass(frozen=True, slots=True)
class Refusal:
    """An act that was not done: on what, why, and what the form had."""

    target: PauseTarget
    message: str
    status: int
    reason: str = ""
    in_dialog: bool = False


async def pause(request: ConsoleRequest) -> Refusal | None:
    """Pause what the form names; None when it is done. A pause that exists stays as it is.

    Raises an ``HttpError``: 400 for another form, 404 and 409 for what cannot be paused.
    """
    target, reason = read_target(request.form), request.form.get("reason", "").strip()
    if not MIN_REASON <= len(reason) <= REASON_LENGTH:
        message = TOO_SHORT.format(least=MIN_REASON, most=REASON_LENGTH)
        return Refusal(target, message, UNPROCESSABLE, reason, in_dialog=True)
    by = request.session.content.email
    action = partial(run_pause, target=target, reason=reason, paused_by=by)
    result = await request.act(f"{target.kind}.pause", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    return None if result.changed else _refuse_pause(target, result, reason)


async def resume(request: ConsoleRequest) -> Refusal | None:
    """Resume what the form names; None when it is done. Raises as ``pause`` does."""
    target = read_target(request.form)
    action = partial(run_resume, target=target)
    result = await request.act(f"{target.kind}.resume", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    if result.changed:
        return None
    message = f"Not resumed: {target} is not paused. Nothing was changed."
    return Refusal(target, message, CONFLICT)


def read_target(form: Mapping[str, str]) -> PauseTarget:
    """Read what a form is about; raises an ``HttpError`` (400)."""
    for kind in get_args(PauseKind):
        if form.get("kind") == kind:
            account = form.get("account", "") if kind == "account" else ""
            return PauseTarget(kind, form.get("name", ""), account)
    raise HttpError(400, "VALIDATION_ERROR", "The form does not say what it is about.")


def _refuse_pause(target: PauseTarget, result: PauseResult, reason: str) -> Refusal:
    message = f"Not paused: {target} is paused already. Nothing was changed."
    if result.pause is not None:
        held = result.pause
        since = format_time(held.paused_at, held.paused_at)
        message = (
            f"Not paused: {target} is paused since {since} by {held.paused_by}, "
            f"“{held.reason}”. Nothing was changed."
        )
    return Refusal(target, message, CONFLICT, reason)

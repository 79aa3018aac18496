"""Queues and workers: what flows, what waits, who works; pause and resume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from infra.storage.audit_lists import list_recent_actions
from infra.storage.pauses import REASON_LENGTH, PauseKind, PauseTarget
from infra.web.errors import HttpError
from infra.web.pause_actions import run_pause, run_resume
from schemas.queues import PauseResult
from workers.ops.format import format_time
from workers.ops.page import Page, SeeOther
from workers.ops.pages.audit import AuditLine, build_lines
from workers.ops.process_rows import build_breaker_rows, build_process_rows, describe_versions
from workers.ops.queue_rows import QueueRow, build_rows
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler
from workers.ops.spark import spark_points

MIN_REASON = 8  # characters
SUBJECT_LENGTH = 200  # characters of what the audit log names
PAUSED = "/queues#paused"
MAX_ACTIONS = 8  # of the audit log
ACTIONS = frozenset(f"{k}.{act}" for k in get_args(PauseKind) for act in ("pause", "resume"))
CONFLICT, UNPROCESSABLE = 409, 422
TOO_SHORT = "Not paused: a reason has {least} characters or more, at most {most}."


@dataclass(frozen=True, slots=True)
class Refusal:
    """An act that was not done: on what, why, and what the form had."""

    target: PauseTarget
    message: str
    reason: str = ""
    in_dialog: bool = False


async def show(request: ConsoleRequest) -> Page:
    """Show the page."""
    return await _build_page(request)


async def post_pause(request: ConsoleRequest) -> Page | SeeOther:
    """Pause a queue, a platform or an account; a pause that exists stays as it is."""
    target, reason = read_target(request.form), request.form.get("reason", "").strip()
    if not MIN_REASON <= len(reason) <= REASON_LENGTH:
        message = TOO_SHORT.format(least=MIN_REASON, most=REASON_LENGTH)
        refusal = Refusal(target, message, reason, in_dialog=True)
        return await _build_page(request, refusal, UNPROCESSABLE)
    by = request.session.content.email
    action = partial(run_pause, target=target, reason=reason, paused_by=by)
    result = await request.act(f"{target.kind}.pause", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    if result.changed:
        return SeeOther(PAUSED)
    return await _build_page(request, _refuse_pause(target, result, reason), CONFLICT)


async def post_resume(request: ConsoleRequest) -> Page | SeeOther:
    """Resume a queue, a platform or an account."""
    target = read_target(request.form)
    action = partial(run_resume, target=target)
    result = await request.act(f"{target.kind}.resume", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    if result.changed:
        return SeeOther(PAUSED)
    message = f"Not resumed: {target} is not paused. Nothing was changed."
    return await _build_page(request, Refusal(target, message), CONFLICT)


def read_target(form: Mapping[str, str]) -> PauseTarget:
    """Read what a form is about; raises an ``HttpError`` (400)."""
    for kind in get_args(PauseKind):
        if form.get("kind") == kind:
            account = form.get("account", "") if kind == "account" else ""
            return PauseTarget(kind, form.get("name", ""), account)
    raise HttpError(400, "VALIDATION_ERROR", "The form does not say what it is about.")


async def _build_page(
    request: ConsoleRequest, refusal: Refusal | None = None, status: int = 200
) -> Page:
    sampler = request.state.sampler
    rows, sample = build_rows(sampler.history), sampler.current
    context = {
        "lede": build_lede(sample, rows),
        "rows": rows,
        "pauses": sample.pauses,
        "processes": build_process_rows(sample.processes),
        "versions": describe_versions(sample.processes),
        "breakers": build_breaker_rows(sample.processes),
        "suspects": sample.suspects,
        "actions": await _list_actions(request),
        "refusal": refusal,
        "least": MIN_REASON,
        "most": REASON_LENGTH,
    }
    return Page("Queues and workers", "queues.html", context, status)


async def _list_actions(request: ConsoleRequest) -> Sequence[AuditLine] | None:
    found = await request.read_or_none(list_recent_actions, ACTIONS, MAX_ACTIONS)
    return None if found is None else await build_lines(request, found)


def build_lede(sample: Sample, rows: Sequence[QueueRow]) -> str:
    """Answer the page's question in one sentence."""
    if not rows:
        return "Not known: Postgres does not answer."
    words = (
        ("paused", "paused"),
        ("stopped", "stopped by their circuit breakers"),
        ("unread", "without a consumer"),
    )
    counted = [(sum(row.summary.state == state for row in rows), word) for state, word in words]
    others = sum(pause.kind != "queue" for pause in sample.pauses)
    parts = [f"{number} {word}" for number, word in counted if number]
    parts += [f"{others} platforms or accounts paused"] if others else []
    processes = build_process_rows(sample.processes)
    for icon, word in (("bad", "not ready"), ("unknown", "not known")):
        number = sum(process.icon == icon for process in processes)
        parts += [f"{number} processes {word}"] if number else []
    if any(row.summary.state == "unknown" for row in rows):
        parts.append("what waits is not known, since the relay has not counted it")
    counted_processes = f", {len(processes)} processes" if processes else ""
    return f"{len(rows)} queues{counted_processes}: {', '.join(parts) or 'every one is read'}."


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    values: dict[str, str] = {}
    for row in build_rows(sampler.history):
        key = f"queue.{row.name}"
        values |= {f"{key}.{column}": text for column, text in row.cells.items()}
        values[f"{key}.state"] = row.word
        values[f"{key}.state.icon"] = row.icon
        values[f"{key}.points"] = spark_points(row.waiting)
    for process in build_process_rows(sampler.current.processes):
        key = f"process.{process.report.address}"
        values |= {f"{key}.{column}": text for column, text in process.cells.items()}
        values |= {f"{key}.state": process.word, f"{key}.state.icon": process.icon}
    for breaker in build_breaker_rows(sampler.current.processes):
        key = f"breaker.{breaker.platform}"
        values |= {key: breaker.word, f"{key}.icon": breaker.icon}
    return values


def _refuse_pause(target: PauseTarget, result: PauseResult, reason: str) -> Refusal:
    message = f"Not paused: {target} is paused already. Nothing was changed."
    if result.pause is not None:
        held = result.pause
        since = format_time(held.paused_at, held.paused_at)
        message = (
            f"Not paused: {target} is paused since {since} by {held.paused_by}, "
            f"“{held.reason}”. Nothing was changed."
        )
    return Refusal(target, message, reason)

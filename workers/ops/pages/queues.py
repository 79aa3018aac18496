"""Queues and workers: what flows, what waits, who works; pause and resume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from infra.storage.pauses import REASON_LENGTH, PauseKind, PauseTarget
from infra.web.errors import HttpError
from infra.web.pause_actions import run_pause, run_resume
from schemas.queues import PauseResult
from workers.ops.format import format_time
from workers.ops.page import Page, SeeOther
from workers.ops.queue_rows import QueueRow, build_rows
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler
from workers.ops.spark import spark_points

MIN_REASON = 8  # characters
SUBJECT_LENGTH = 200  # characters of what the audit log names
PAUSED = "/queues#paused"
OTHER_WORKERS = {"webhooks": "relay"}  # whose queues are named differently
CONFLICT, UNPROCESSABLE = 409, 422
TOO_SHORT = "Not paused: a reason has {least} characters or more, at most {most}."


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker: its queues and the consumers that the broker counts on them."""

    name: str
    queues: Sequence[str]
    consumers: int | None
    icon: str
    word: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An act that was not done: on what, why, and what the form had."""

    target: PauseTarget
    message: str
    reason: str = ""
    in_dialog: bool = False


async def show(request: ConsoleRequest) -> Page:
    """Show the page."""
    return build_page(request.state.sampler)


async def post_pause(request: ConsoleRequest) -> Page | SeeOther:
    """Pause a queue, a platform or an account; a pause that exists stays as it is."""
    target, reason = read_target(request.form), request.form.get("reason", "").strip()
    if not MIN_REASON <= len(reason) <= REASON_LENGTH:
        message = TOO_SHORT.format(least=MIN_REASON, most=REASON_LENGTH)
        refusal = Refusal(target, message, reason, in_dialog=True)
        return build_page(request.state.sampler, refusal, UNPROCESSABLE)
    by = request.session.content.email
    action = partial(run_pause, target=target, reason=reason, paused_by=by)
    result = await request.act(f"{target.kind}.pause", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    if result.changed:
        return SeeOther(PAUSED)
    return build_page(request.state.sampler, _refuse_pause(target, result, reason), CONFLICT)


async def post_resume(request: ConsoleRequest) -> Page | SeeOther:
    """Resume a queue, a platform or an account."""
    target = read_target(request.form)
    action = partial(run_resume, target=target)
    result = await request.act(f"{target.kind}.resume", str(target)[:SUBJECT_LENGTH], action)
    await request.state.sampler.take()
    if result.changed:
        return SeeOther(PAUSED)
    message = f"Not resumed: {target} is not paused. Nothing was changed."
    return build_page(request.state.sampler, Refusal(target, message), CONFLICT)


def read_target(form: Mapping[str, str]) -> PauseTarget:
    """Read what a form is about; raises an ``HttpError`` (400)."""
    for kind in get_args(PauseKind):
        if form.get("kind") == kind:
            account = form.get("account", "") if kind == "account" else ""
            return PauseTarget(kind, form.get("name", ""), account)
    raise HttpError(400, "VALIDATION_ERROR", "The form does not say what it is about.")


def build_page(sampler: Sampler, refusal: Refusal | None = None, status: int = 200) -> Page:
    """Build the page from the newest samples."""
    rows, sample = build_rows(sampler.history), sampler.current
    context = {
        "lede": build_lede(sample, rows),
        "rows": rows,
        "pauses": sample.pauses,
        "workers": build_workers(rows),
        "breakers": [row for row in rows if row.can_pause],
        "suspects": sample.suspects,
        "refusal": refusal,
        "least": MIN_REASON,
        "most": REASON_LENGTH,
    }
    return Page("Queues and workers", "queues.html", context, status)


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
    if any(row.summary.state == "unknown" for row in rows):
        parts.append("what waits is not known, since the relay has not counted it")
    return f"{len(rows)} queues: {', '.join(parts) or 'every queue is read'}."


def build_workers(rows: Sequence[QueueRow]) -> list[WorkerRow]:
    """List the workers, in the order of their queues."""
    by_name: dict[str, list[QueueRow]] = {}
    for row in rows:
        prefix = row.name.partition(".")[0]
        by_name.setdefault(OTHER_WORKERS.get(prefix, prefix), []).append(row)
    return [_build_worker(name, own) for name, own in sorted(by_name.items())]


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    values: dict[str, str] = {}
    for row in build_rows(sampler.history):
        key = f"queue.{row.name}"
        values |= {f"{key}.{column}": text for column, text in row.cells.items()}
        values[f"{key}.state"] = row.word
        values[f"{key}.state.icon"] = row.icon
        values[f"{key}.points"] = spark_points(row.waiting)
    return values


def _build_worker(name: str, rows: Sequence[QueueRow]) -> WorkerRow:
    counts = [row.summary.consumers for row in rows]
    known = [count for count in counts if count is not None]
    consumers = sum(known) if len(known) == len(counts) else None
    if consumers is None:
        icon, word = "unknown", "Not known"
    elif any(row.summary.state == "unread" for row in rows):
        icon, word = "bad", "Reads no queue" if consumers == 0 else "Reads not all"
    elif consumers == 0:
        icon, word = "paused", "Paused"
    else:
        icon, word = "ok", "Reads"
    return WorkerRow(name, [row.name for row in rows], consumers, icon, word)


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

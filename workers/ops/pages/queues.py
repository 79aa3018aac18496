"""Queues and workers: what flows, what waits, who works; pause and resume."""

from collections.abc import Mapping, Sequence
from typing import get_args

from infra.storage.audit_lists import list_recent_actions
from infra.storage.pauses import REASON_LENGTH, PauseKind
from workers.ops.page import Page, SeeOther
from workers.ops.pages.audit import AuditLine, build_lines
from workers.ops.pause_acts import MIN_REASON, Refusal, pause, resume
from workers.ops.process_rows import build_breaker_rows, build_process_rows, describe_versions
from workers.ops.queue_rows import QueueRow, build_rows
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler
from workers.ops.spark import spark_points

PAUSED = "/queues#paused"
MAX_ACTIONS = 8  # of the audit log
ACTIONS = frozenset(f"{k}.{act}" for k in get_args(PauseKind) for act in ("pause", "resume"))


async def show(request: ConsoleRequest) -> Page:
    """Show the page."""
    return await _build_page(request)


async def post_pause(request: ConsoleRequest) -> Page | SeeOther:
    """Pause a queue, a platform or an account; a pause that exists stays as it is."""
    refusal = await pause(request)
    return SeeOther(PAUSED) if refusal is None else await _build_page(request, refusal)


async def post_resume(request: ConsoleRequest) -> Page | SeeOther:
    """Resume a queue, a platform or an account."""
    refusal = await resume(request)
    return SeeOther(PAUSED) if refusal is None else await _build_page(request, refusal)


async def _build_page(request: ConsoleRequest, refusal: Refusal | None = None) -> Page:
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
    status = 200 if refusal is None else refusal.status
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

"""Writes how far the jobs of dead letters are: texts and figures for a page and its live values."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from infra.messaging.dead_letter_jobs import derive_undo_id
from infra.storage.dead_letter_jobs import DeadLetterJob, JobProgress
from workers.ops.format import format_count, format_duration, format_rate
from workers.ops.sampler import Sampler

NAMES = {"replay": "Replay", "discard": "Discard", "undo": "Undo of the discard"}
APPLIED = {"replay": "replayed", "discard": "discarded", "undo": "open again"}
METER_WIDTH, METER_HEIGHT = 100, 8


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as a page shows it; ``bars`` has the points of the meter's parts by their state."""

    job: DeadLetterJob
    title: str
    done: str
    pace: str
    applied: str
    again: str
    refused: str
    bars: Mapping[str, str]
    can_undo: bool = False


def build_job_rows(progress: Sequence[JobProgress], now: datetime) -> list[JobRow]:
    """Write the jobs; a discard that has ended can be undone once."""
    undone = {one.job.id for one in progress if one.job.kind == "undo"}
    return [_build_row(one, now, undone) for one in progress]


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page of dead letters."""
    sample, values = sampler.current, {}
    for row in build_job_rows(sample.jobs, sample.at):
        key = f"job.{row.job.id}"
        for name in ("title", "done", "pace", "applied", "again", "refused"):
            values[f"{key}.{name}"] = getattr(row, name)
        values |= {f"{key}.{state}": points for state, points in row.bars.items()}
    return values


def _build_row(progress: JobProgress, now: datetime, undone: Container[UUID]) -> JobRow:
    job, again = progress.job, progress.failed_again
    return JobRow(
        job=job,
        title=_build_title(job),
        done=f"{format_count(job.place)} of {format_count(job.total)}",
        pace=_build_pace(job, now),
        applied=f"{format_count(job.applied)} {APPLIED[job.kind]}",
        again=f"{format_count(again)} failed again" if again else "",
        refused=f"{format_count(job.refused)} left as they are" if job.refused else "",
        bars=_build_bars(job, again),
        can_undo=job.kind == "discard"
        and job.ended_at is not None
        and job.applied > 0
        and derive_undo_id(job.id) not in undone,
    )


def _build_title(job: DeadLetterJob) -> str:
    name = NAMES[job.kind]
    if job.state == "running":
        return f"{name} under way"
    if job.state == "stopped":
        return f"{name} stopped by {job.stopped_by}"
    return f"{name} done"


def _build_pace(job: DeadLetterJob, now: datetime) -> str:
    if job.ended_at is not None:
        seconds = (now - job.ended_at).total_seconds()
        return f"ended {format_duration(max(float(round(seconds)), 0))} ago"
    left = format_duration(round((job.total - job.place) / job.rate))
    return f"{format_rate(job.rate)} per second, {left} left"


def _build_bars(job: DeadLetterJob, again: int) -> dict[str, str]:
    parts = {
        "ok": max(job.applied - again, 0),
        "bad": min(again, job.applied),
        "warn": job.refused,
        "rest": job.total - job.place,
    }
    bars, x = {}, 0.0
    for state, letters in parts.items():
        end = x + METER_WIDTH * letters / job.total
        bars[state] = f"{x:.2f},0 {end:.2f},0 {end:.2f},{METER_HEIGHT} {x:.2f},{METER_HEIGHT}"
        x = end
    return bars

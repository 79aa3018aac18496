"""Dead letters: what was given up, and is it one cause or many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.messaging.dead_letter_jobs import DEFAULT_RATE, MAX_LETTERS, MAX_RATE
from infra.storage.dead_letter_groups import (
    DeadLetterGroup,
    GroupNote,
    count_by_state,
    list_groups,
    list_hours,
    read_note,
)
from infra.storage.dead_letter_jobs import JobFailure, JobProgress, list_failures, list_progress
from infra.storage.dead_letters import list_next_dead_letters
from workers.ops.format import format_count
from workers.ops.job_rows import build_job_rows
from workers.ops.page import Page
from workers.ops.pages.letter_filter import (
    QUEUES,
    SINCE,
    SORTED_CODES,
    STAGES,
    LetterFilter,
    LetterPosition,
    format_cursor,
    parse_cursor,
    parse_filter,
    parse_picks,
)
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import JOBS_SHOWN_FOR

MAX_GROUPS = 100  # on the page; the newest failures first
LETTERS = 25  # on a page
MAX_UNCONFIRMED = 20  # letters that are discarded without typing their number
MAX_FAILURES = 20  # letters that a job names on the page


@dataclass(frozen=True, slots=True)
class JobForm:
    """A form of a job as it was typed, and why it was refused; ``kind`` names the open dialog."""

    kind: str = ""
    rate: str = str(DEFAULT_RATE)
    reason: str = ""
    count: str = ""
    problem: str = ""

    def with_problem(self, problem: str) -> "JobForm":
        """Say why it was refused."""
        return replace(self, problem=problem)


@dataclass(frozen=True, slots=True)
class DeadLetterLists:
    """What the page reads: ``hours`` has the failures of each group and hour, oldest first.

    ``selected`` counts the letters that the filter has; None where only counting would tell.
    """

    states: dict[str, int]
    groups: Sequence[DeadLetterGroup]
    hours: dict[str, list[int]]
    letters: Sequence[RowMapping]
    jobs: Sequence[JobProgress]
    failures: Sequence[JobFailure]
    selected: int | None
    note: GroupNote


async def show(request: ConsoleRequest) -> Page:
    """Show the groups, and the letters of the chosen one or of the filter."""
    picks = parse_picks(request.web.query.getall("pick", []))
    form = JobForm(request.query.get("act", "") if picks else "")
    return await build(request, parse_filter(request.query), picks, form)


async def build(
    request: ConsoleRequest,
    chosen: LetterFilter,
    picks: Sequence[UUID],
    form: JobForm,
    *,
    note: GroupNote | None = None,
    status: int = 200,
) -> Page:
    """Build the page; with ``picks`` or after a refusal the dialog of ``form`` is open.

    ``note`` is what was typed and not saved.
    """
    after, moment = parse_cursor(request.query.get("after", "")), now()
    found = await request.read("Dead letters", read_lists, chosen, after, moment)
    letters = found.letters[:LETTERS]
    following = ""
    if len(found.letters) > LETTERS:
        position = format_cursor(letters[-1]["first_failed_at"], letters[-1]["id"])
        following = chosen.address(after=position, anchor="letters")
    context = {
        "lede": build_lede(found, chosen),
        "chosen": chosen,
        "states": found.states,
        "total": sum(found.states.values()),
        "groups": found.groups[:MAX_GROUPS],
        "more_groups": len(found.groups) > MAX_GROUPS,
        "hours": found.hours,
        "letters": letters,
        "following": following,
        "is_first": after is None,
        "after": request.query.get("after", ""),
        "options": {"queue": QUEUES, "stage": STAGES, "code": SORTED_CODES},
        "since": SINCE,
        "jobs": build_job_rows(found.jobs, moment),
        "failures": _by_job(found.failures),
        "can_act": chosen.state == "open" and bool(letters),
        "selected": found.selected,
        "picks": picks,
        "form": form,
        "note": note or found.note,
        "note_version": found.note.version,
        "job_ids": {"replay": uuid4(), "discard": uuid4()},
        "limits": {"rate": MAX_RATE, "letters": MAX_LETTERS, "unconfirmed": MAX_UNCONFIRMED},
    }
    return Page("Dead letters", "dead_letters.html", context, status)


async def read_lists(
    tx: AsyncConnection, chosen: LetterFilter, after: LetterPosition | None, moment: datetime
) -> DeadLetterLists:
    """Read one page of groups and letters, and the jobs."""
    matching = chosen.to_query(moment)
    everything = LetterFilter(**{**_values(chosen), "group": "", "text": ""}).to_query(moment)
    groups = await list_groups(tx, everything, limit=MAX_GROUPS + 1)
    hours = await list_hours(tx, [group.fingerprint for group in groups], moment)
    letters = await list_next_dead_letters(tx, matching, after=after, limit=LETTERS + 1)
    jobs = await list_progress(tx, moment - JOBS_SHOWN_FOR)
    failures = await list_failures(tx, [one.job.id for one in jobs], MAX_FAILURES)
    selected = await _count_selected(tx, chosen, groups)
    states = await count_by_state(tx)
    note = await read_note(tx, chosen.group)
    return DeadLetterLists(states, groups, hours, letters, jobs, failures, selected, note)


def build_lede(found: DeadLetterLists, chosen: LetterFilter) -> str:
    """Answer the page's question in one sentence."""
    count = found.states.get("open", 0)
    if not count:
        return "Nothing is open: everything that was accepted was handled, or somebody saw to it."
    if chosen.state != "open" or chosen.queue or chosen.stage or chosen.code or chosen.since:
        return f"{format_count(count)} open; a filter is set below."
    number = f"more than {MAX_GROUPS}" if len(found.groups) > MAX_GROUPS else len(found.groups)
    groups = "1 group" if number == 1 else f"{number} groups"
    return (
        f"{format_count(count)} open, in {groups}: the same code at the same stage for one queue"
        " and event type. Repair the cause, then replay the group."
    )


async def _count_selected(
    tx: AsyncConnection, chosen: LetterFilter, groups: Sequence[DeadLetterGroup]
) -> int | None:
    """Count what the filter has, from the counters alone; None where they do not know."""
    if chosen.is_group:
        return (await count_by_state(tx, chosen.group)).get(chosen.state, 0)
    if chosen.group or chosen.text or chosen.since or len(groups) > MAX_GROUPS:
        return None
    return sum(group.letters for group in groups)


def _by_job(failures: Sequence[JobFailure]) -> dict[UUID, list[JobFailure]]:
    found: dict[UUID, list[JobFailure]] = {}
    for failure in failures:
        found.setdefault(failure.job_id, []).append(failure)
    return found


def _values(chosen: LetterFilter) -> dict[str, Any]:
    return {name: getattr(chosen, name) for name in LetterFilter.__dataclass_fields__}

"""Dead letters: what was given up, and is it one cause or many."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.storage.dead_letter_groups import (
    HOURS,
    DeadLetterGroup,
    count_by_hour,
    count_by_state,
    list_groups,
)
from infra.storage.dead_letters import list_next_dead_letters
from workers.ops.format import format_count
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
)
from workers.ops.request import ConsoleRequest

MAX_GROUPS = 100  # on the page; the newest failures first
LETTERS = 25  # on a page


@dataclass(frozen=True, slots=True)
class DeadLetterLists:
    """What the page reads: ``hours`` has the failures of each group and hour, oldest first."""

    states: dict[str, int]
    groups: Sequence[DeadLetterGroup]
    hours: dict[str, list[int]]
    letters: Sequence[RowMapping]


async def show(request: ConsoleRequest) -> Page:
    """Show the groups, and the letters of the chosen one or of the filter."""
    chosen = parse_filter(request.query)
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
        "options": {"queue": QUEUES, "stage": STAGES, "code": SORTED_CODES},
        "since": SINCE,
        "notice": request.query.get("did", ""),
    }
    return Page("Dead letters", "dead_letters.html", context)


async def read_lists(
    tx: AsyncConnection, chosen: LetterFilter, after: LetterPosition | None, moment: datetime
) -> DeadLetterLists:
    """Read one page of groups and letters."""
    matching = chosen.to_query(moment)
    everything = LetterFilter(**{**_values(chosen), "group": "", "text": ""}).to_query(moment)
    groups = await list_groups(tx, everything, limit=MAX_GROUPS + 1)
    hours = await _read_hours(tx, [group.fingerprint for group in groups], moment)
    letters = await list_next_dead_letters(tx, matching, after=after, limit=LETTERS + 1)
    return DeadLetterLists(await count_by_state(tx), groups, hours, letters)


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


async def _read_hours(
    tx: AsyncConnection, fingerprints: Sequence[str], moment: datetime
) -> dict[str, list[int]]:
    this_hour = moment.replace(minute=0, second=0, microsecond=0)
    shown = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    counts = await count_by_hour(tx, fingerprints, shown[0] - timedelta(seconds=1))
    return {name: [counts.get((name, hour), 0) for hour in shown] for name in fingerprints}


def _values(chosen: LetterFilter) -> dict[str, Any]:
    return {name: getattr(chosen, name) for name in LetterFilter.__dataclass_fields__}

"""Webhook sources: does each report, with which secret, and what is not understood."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from events.envelope import now
from events.sources import WEBHOOK_SOURCE_PREFIX
from handlers.webhooks import SOURCES
from infra.security.standard_webhooks import TOLERANCE_SECONDS
from infra.storage.unrecognised_webhooks import QUEUE
from workers.ops.event_views.links import build_path
from workers.ops.format import format_count, format_duration
from workers.ops.page import Page
from workers.ops.pages.letter_filter import format_cursor, parse_cursor
from workers.ops.pages.webhook_body import show_body
from workers.ops.pages.webhook_figures import build_figures
from workers.ops.pages.webhook_lists import (
    WebhookLists,
    WebhookQuery,
    read_groups_again,
    read_lists,
)
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler
from workers.ops.source_rows import SourceRow, build_source_rows
from workers.ops.spark import spark_points

PATH = "/webhooks"
AGAIN = "again"
MAX_GROUP_NAME = 64  # characters


async def show(request: ConsoleRequest) -> Page:
    """Show the page; without Postgres it says what is not known."""
    group = request.query.get("group", "")[:MAX_GROUP_NAME].replace("\0", "")
    query = WebhookQuery(group, parse_cursor(request.query.get("after", "")))
    is_again, moment = request.query.get("read") == AGAIN, now()
    limit = request.state.resources.settings.max_event_bytes
    found, again = await request.read_or_none(read_lists, query, limit, moment), None
    if found is not None and is_again:
        again = await request.read_or_none(read_groups_again, found.groups, limit)
    sampler = request.state.sampler
    rows = build_source_rows(sampler.history)
    context = {
        "lede": build_lede(sampler.current, rows, found),
        "rows": rows,
        "sources": SOURCES,
        "found": found,
        "figures": build_figures(found.counts if found else (), moment),
        "tolerance": TOLERANCE_SECONDS,
        "is_again": is_again,
        "again": again,
        "prefix": WEBHOOK_SOURCE_PREFIX,
        "queue": QUEUE,
        "job_id": uuid4(),
        **_build_addresses(found, query, AGAIN if is_again else None),
        **_build_body(found),
    }
    return Page("Webhook sources", "webhooks.html", context)


def build_lede(sample: Sample, rows: Sequence[SourceRow], found: WebhookLists | None) -> str:
    """Answer the page's question in one sentence, and say how much is not understood."""
    if sample.webhooks is None:
        return "Not known: Postgres does not answer."
    reporting = [row.name for row in rows if row.icon == "ok"]
    missing = [row.name for row in rows if row.icon == "unknown"]
    parts = [_describe(reporting, "reports", "report")] if reporting else []
    for row in rows:
        last = sample.webhooks[row.name].last_at if row.is_silent else None
        if last is not None:
            silence = format_duration((sample.at - last).total_seconds())
            parts.append(f"{row.name} has been silent for {silence}")
    if missing:
        parts.append(_describe(missing, "has sent nothing yet", "have sent nothing yet"))
    lede = f"{len(rows)} sources: {'; '.join(parts)}."
    if found is not None and found.groups:
        number = sum(group.letters for group in found.groups)
        verb = "webhook is" if number == 1 else "webhooks are"
        lede += f" {format_count(number)} {verb} not understood."
    return lede


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    values: dict[str, str] = {}
    for row in build_source_rows(sampler.history):
        key = f"source.{row.name}"
        values |= {
            f"{key}.state": row.word,
            f"{key}.state.icon": row.icon,
            f"{key}.detail": row.detail,
            f"{key}.rate": row.rate_text,
            f"{key}.points": spark_points(row.rates),
        }
    return values


def _build_addresses(
    found: WebhookLists | None, query: WebhookQuery, read: str | None
) -> dict[str, Any]:
    """Write the addresses of the groups, and of the next and the first letter of the chosen one."""
    if found is None or found.chosen is None:
        return {"addresses": {}, "following": "", "first": ""}

    def address(group: str, after: str | None = None) -> str:
        return build_path(PATH, group=group, after=after, read=read) + "#one"

    name, place = found.chosen.fingerprint, found.letter.place if found.letter else None
    return {
        "addresses": {one.fingerprint: address(one.fingerprint) for one in found.groups},
        "following": address(name, format_cursor(*place)) if place else "",
        "first": address(name) if query.after else "",
    }


def _build_body(found: WebhookLists | None) -> dict[str, Any]:
    letter = found.letter if found else None
    if letter is None:
        return {"letter": None, "webhook": None, "body": None, "types": []}
    kept = letter.reading.kept
    return {
        "letter": letter,
        "webhook": kept.data if kept else None,
        "body": show_body(kept.data.body, letter.reading.reason) if kept else None,
        "types": sorted({str(event.type) for event in letter.reading.events}),
    }


def _describe(names: Sequence[str], one: str, several: str) -> str:
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{listed} {one if len(names) == 1 else several}"

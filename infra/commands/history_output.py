"""Prints entries of the event log, for people and as JSON lines."""

import sys
from typing import Any

from infra.commands.output import format_time, print_error, print_json, print_json_line
from infra.messaging.event_log import LogEntry
from infra.messaging.log_content import get_type, parse_content, properties_of, write_line
from infra.messaging.log_replay import ReplayCounts, ReplayFinding
from schemas.escaping import escape, escape_lines

TEXT_LENGTH = 200  # characters of an attribute in a list
OFFSET_WIDTH, TIME_WIDTH, TYPE_WIDTH = 10, 20, 34
SENT = (ReplayFinding.NEW, ReplayFinding.DUPLICATE)
FINDINGS = {
    ReplayFinding.NEW: "are new to the queue",
    ReplayFinding.DUPLICATE: "it has handled: duplicates, without effect unless --handle-again",
    ReplayFinding.DONE: "this replay has had handled again already: left out",
    ReplayFinding.DEAD_LETTER: "are dead letters: left out (adrelay dead-letters replay)",
    ReplayFinding.REUSED_ID: "have the id of another event that it has handled: left out",
    ReplayFinding.UNREADABLE: "cannot be decoded: left out",
    ReplayFinding.REFUSED: "were refused",
}
HEADINGS = ("OFFSET", "PUBLISHED", "TYPE", "SUBJECT", "SOURCE", "ID")


def print_headings() -> None:
    """Print the names of the columns."""
    print(_align(*HEADINGS))


def print_entry(entry: LogEntry, *, as_json: bool) -> None:
    """Print an entry as one line."""
    if as_json:
        print_json_line(write_line(entry))
        return
    content = parse_content(entry.delivery)
    at = entry.published_at
    known = content or {}
    names = [_to_text(known.get(name)) for name in ("subject", "source", "id")]
    if content is None:
        names[2] = "(no event)"
    kind = escape(get_type(entry.delivery, content), TEXT_LENGTH)
    print(_align(str(entry.offset), "-" if at is None else format_time(at), kind, *names))


def print_whole_entry(entry: LogEntry, *, as_json: bool) -> None:
    """Print an entry with its properties, headers and body."""
    if as_json:
        print_json_line(write_line(entry, with_properties=True))
        return
    for name, value in _list_properties(entry):
        print(f"{name:16} {escape(value)}")
    delivery = entry.delivery
    if delivery.whole is not None:
        print(f"\nthe first {len(delivery.body)} of {delivery.whole.length} bytes of its body:")
    print()
    for line in escape_lines(delivery.body.decode(errors="backslashreplace")).split("\n"):
        print(f"  {line}")


def _list_properties(entry: LogEntry) -> list[tuple[str, str]]:
    delivery, at = entry.delivery, entry.published_at
    found: list[tuple[str, Any]] = [
        ("offset", entry.offset),
        ("published", None if at is None else format_time(at)),
        ("exchange", delivery.exchange),
        ("routing key", delivery.routing_key),
    ]
    properties = properties_of(delivery)
    headers = properties.pop("headers")
    found += properties.items()
    found += [(f"header {name}", value) for name, value in headers.items()]
    found.append(("body", f"{delivery.size} bytes"))
    return [(escape(name, TEXT_LENGTH), str(value)) for name, value in found if value is not None]


def _align(offset: str, at: str, kind: str, *names: str) -> str:
    first = f"{offset:>{OFFSET_WIDTH}}  {at:{TIME_WIDTH}}  {kind:{TYPE_WIDTH}}"
    return "  ".join((first, *names))


def _to_text(value: object) -> str:
    return "-" if value is None else escape(str(value), TEXT_LENGTH)


def flush() -> None:
    """Hand on what was printed; raises ``BrokenPipeError`` when nobody reads it."""
    sys.stdout.flush()


def print_counts(
    queue: str,
    counts: ReplayCounts,
    first: LogEntry | None,
    last: LogEntry | None,
    *,
    as_json: bool,
    sent: bool,
) -> None:
    """Print what a replay has sent, or would send, and what it leaves out."""
    to_send = counts.sent if sent else sum(counts.found[finding] for finding in SENT)
    if as_json:
        span = {"first_offset": first and first.offset, "last_offset": last and last.offset}
        numbers = {finding.value: counts.found[finding] for finding in ReplayFinding}
        print_json(
            {"queue": queue, "sent" if sent else "would_send": to_send}
            | numbers
            | ({} if sent else span)
            | {"objections": counts.objections}
        )
        return
    print(f"{'sent to' if sent else 'would be sent to'} {queue}: {to_send}")
    for finding in ReplayFinding:
        if counts.found[finding]:
            print(f"  {counts.found[finding]} {FINDINGS[finding]}")
    if first is not None and last is not None:
        times = [e.published_at for e in (first, last)]
        words = [f"{e.offset}" for e in (first, last)]
        words = [
            word if at is None else f"{word} ({format_time(at)})"
            for word, at in zip(words, times, strict=True)
        ]
        print(f"in the order of the log, from offset {words[0]} to {words[1]}")
    for objection in counts.objections:
        print_error(objection)

"""Writes times, durations, numbers and ids for people. Pure; times are aware and shown in UTC."""

import re
from datetime import UTC, datetime
from uuid import UUID

from schemas.escaping import escape

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
KIB = 1024
SHORT_ID = 8  # digits of a hexadecimal id or a UUID
LONG_ID = 16  # characters; a longer id of another form is cut
SHOWN_LENGTH = 300  # characters of a text in a cell
HEXADECIMAL = re.compile(r"[0-9a-fA-F]{16,}")


def format_time(when: datetime, now: datetime, *, milliseconds: bool = False) -> str:
    """Write a time of day today, else weekday, day and minute, with the year if it is another."""
    when, now = when.astimezone(UTC), now.astimezone(UTC)
    if when.date() == now.date():
        return when.strftime("%H:%M:%S") + (f".{when.microsecond // 1000:03d}" * milliseconds)
    day = f"{when:%a} {when.day} {when:%b}"
    return f"{day} {when:%H:%M}" if when.year == now.year else f"{day} {when:%Y %H:%M}"


def format_iso(when: datetime) -> str:
    """Write a time in ISO 8601, UTC, with ``Z``; microseconds only where there are some."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_ago(when: datetime, now: datetime) -> str:
    """Write how long ago a time was, or in how long it comes."""
    seconds = (now - when).total_seconds()
    if seconds < 0:
        return f"in {format_duration(-seconds)}"
    return f"{format_duration(seconds)} ago"


def format_duration(seconds: float) -> str:
    """Write a duration in two units at most: ``< 1 ms``, ``212 ms``, ``31.5 s``, ``1 d 22 h``."""
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return "0 s" if seconds <= 0 else "< 1 ms"
    if seconds < 0.9995:  # noqa: PLR2004 - from here on it rounds to a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        text = f"{seconds:.1f}".removesuffix(".0")
        return f"{text} s" if text != "60" else "1 min"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole // MINUTE} min"


def format_count(number: int) -> str:
    """Write a whole number with commas."""
    return f"{number:,}"


def format_rate(per_second: float) -> str:
    """Write a rate to two significant digits; below 0.1 per second as a number per minute."""
    if per_second <= 0:
        return "0"
    if per_second < 0.1:  # noqa: PLR2004 - a tenth
        per_minute = per_second * MINUTE
        return f"{max(1, round(per_minute))} per minute" if per_minute >= 1 else "< 1 per minute"
    if per_second < 10:  # noqa: PLR2004 - one digit after the point
        return f"{per_second:.1f}".removesuffix(".0")
    return f"{round(per_second):,}"


def format_bytes(size: int) -> str:
    """Write a size: ``212,004 bytes`` below one MiB, then ``142 MiB`` or ``3.5 GiB``."""
    if size < KIB**2:
        return "1 byte" if size == 1 else f"{size:,} bytes"
    for unit, power in (("GiB", 3), ("MiB", 2)):
        if size >= KIB**power:
            number = size / KIB**power
            text = f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:,.0f}"  # noqa: PLR2004 - one digit after the point
            return f"{text} {unit}"
    return f"{size:,} bytes"


def shorten_id(identifier: str) -> str:
    """Shorten an id: the first 8 of hexadecimal digits or a UUID, else both ends of a long one."""
    text = str(identifier)
    if HEXADECIMAL.fullmatch(text) or _is_uuid(text):
        return text[:SHORT_ID]
    if len(text) > LONG_ID * 2:
        return f"{text[:9]}…{text[-4:]}"
    return text


def split_escapes(text: str, *, lines: bool = False) -> list[tuple[str, bool]]:
    """Split a stranger's text into parts; true marks an escape of what is not printable.

    A backslash sequence that the text itself has is not marked. ``lines`` keeps line ends.
    """
    parts: list[tuple[str, bool]] = []
    for character in text:
        kept = lines and character in "\n\t"
        shown = character if kept else escape(character)
        marked = shown != character
        if parts and not marked and not parts[-1][1]:
            parts[-1] = (parts[-1][0] + shown, False)
        else:
            parts.append((shown, marked))
    return parts


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False

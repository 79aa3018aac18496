"""Parses points in time as people type them: ISO 8601 with an offset, or a duration before now."""

import re
from datetime import datetime, timedelta

UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}  # seconds
DURATION = re.compile(r"(?:\d{1,9}[dhms])+")
PART = re.compile(r"(\d+)([dhms])")


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a text such as ``2026-11-30T08:00:00Z``, ``2h`` or ``1d12h`` before ``now``.

    Gives an aware time. Raises ``ValueError`` with a sentence about what is allowed.
    """
    if DURATION.fullmatch(text.lower()):
        seconds = sum(int(number) * UNITS[unit] for number, unit in PART.findall(text.lower()))
        try:
            return now - timedelta(seconds=seconds)
        except OverflowError:
            raise ValueError(f"{text[:50]!r} is too long ago") from None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:50]!r} is no time: write 2026-11-30T08:00:00Z, or a duration such as 2h"
        ) from None
    if found.tzinfo is None:
        raise ValueError(f"{text[:50]!r} has no offset from UTC: write Z or +01:00 behind it")
    return found

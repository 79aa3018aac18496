"""``Prefer: wait=N``: the client asks to wait for the result (RFC 7240)."""

import re

from aiohttp import web

MAX_WAIT = 30.0  # seconds
WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=$|[,;])', re.ASCII | re.IGNORECASE)


def parse_wait(request: web.Request) -> float:
    """Return how many seconds the client waits, at most ``MAX_WAIT``; 0 without the header."""
    values = request.headers.getall("Prefer", ())
    found = WAIT.search(",".join(values)) if values else None
    return min(float(found[1]), MAX_WAIT) if found else 0.0


def preference_headers(seconds: float) -> dict[str, str]:
    """Build ``Vary`` and, for a client that waits, ``Preference-Applied``."""
    if seconds <= 0:
        return {"Vary": "Prefer"}
    return {"Vary": "Prefer", "Preference-Applied": f"wait={seconds:.0f}"}

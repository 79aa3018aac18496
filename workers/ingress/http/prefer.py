"""``Prefer: wait=N``: the client would rather wait a little than ask again (RFC 7240)."""

import re

from aiohttp import web

MAX_WAIT = 30.0  # seconds
WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=$|[,;])', re.ASCII | re.IGNORECASE)


def parse_wait(request: web.Request) -> float:
    """Tell how many seconds the client would wait, at most ``MAX_WAIT``; 0 if it would not."""
    values = request.headers.getall("Prefer", ())
    found = WAIT.search(",".join(values)) if values else None
    return min(float(found[1]), MAX_WAIT) if found else 0.0


def preference_headers(seconds: float) -> dict[str, str]:
    """Make the headers that tell what was preferred, and that the answer depends on it."""
    if seconds <= 0:
        return {"Vary": "Prefer"}
    return {"Vary": "Prefer", "Preference-Applied": f"wait={seconds:.0f}"}

"""HTML pages for a browser that a platform has redirected back: text without scripts.

All text is escaped. The content security policy allows the style below and nothing else: no
scripts, no other resources, no frames.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape

from aiohttp import web

HTML = "text/html"
STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem;"
    "color:#1c2330;background:#f6f7f9}h1{font-size:1.5rem;margin:0 0 .5rem}"
    "h1::before{content:'';display:inline-block;width:.7rem;height:.7rem;border-radius:50%;"
    "margin-right:.6rem;background:#b3261e}body.good h1::before{background:#1a7f4b}"
    "small{color:#5a6472}"
)
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def accepts_html(request: web.Request) -> bool:
    """Whether ``Accept`` names HTML, as a browser's does."""
    accepted = ",".join(request.headers.getall("Accept", ())).lower()
    return any(part.partition(";")[0].strip() == HTML for part in accepted.split(","))


def html_page(title: str, text: str, note: str, *, status: int = 200) -> web.Response:
    """Build a page with a headline, a sentence, and a note in small print."""
    good = ' class="good"' if status < 400 else ""  # noqa: PLR2004 - the first error
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body{good}><h1>{escape(title)}</h1><p>{escape(text)}</p>"
        f"<p><small>{escape(note)}</small></p></body></html>"
    )
    return web.Response(
        text=body, status=status, content_type=HTML, charset="utf-8", headers=HEADERS
    )

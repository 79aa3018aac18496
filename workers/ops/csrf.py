"""Refuses forms that another site has sent.

    the token      HMAC-SHA256 under the session's id, which no other site and no script can read;
                   before the login, under a random value in a cookie of its own
    Sec-Fetch-Site what browsers say about the sender (W3C, Fetch Metadata): same-origin, or none
    Origin         from browsers that do not say the former: it must name this host

``SameSite=Strict`` keeps the session's cookie from such requests besides.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from infra.base64url import encode_base64url
from infra.web.errors import forbidden

FIELD = "csrf"
PURPOSE = b"adrelay console csrf"
OWN_SITES = ("same-origin", "none")
REFUSED = "This form does not come from the page that you opened. Nothing was changed."


def make_csrf_token(session_id: str) -> str:
    """Derive the token of a session."""
    return encode_base64url(hmac.digest(session_id.encode(), PURPOSE, sha256))


def check_csrf_token(session_id: str, sent: str) -> None:
    """Raise an ``HttpError`` (403) unless the token is the session's; takes constant time."""
    expected = make_csrf_token(session_id)
    is_same = hmac.compare_digest(expected.encode(), sent.encode(errors="replace"))
    if not (session_id and is_same):
        raise forbidden(REFUSED)


def check_origin(headers: Mapping[str, str]) -> None:
    """Raise an ``HttpError`` (403) for a form that a page of another origin has sent."""
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None:
        allowed = site in OWN_SITES
    else:
        allowed = origin is None or urlsplit(origin).netloc == headers.get("Host")
    if not allowed:
        raise forbidden(REFUSED)

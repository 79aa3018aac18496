"""Headers of every response, and the attributes of cookies."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from aiohttp import web

from infra.web.client_address import parse_address

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_STORE = "no-store"


def is_secure(request: web.Request, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the browser came over TLS: to us, or to a trusted proxy that says so."""
    if request.secure:
        return True
    peer = parse_address(request.remote or "")
    if peer is None or not any(peer in network for network in trusted):
        return False
    said = ",".join(request.headers.getall("X-Forwarded-Proto", ()))
    return said.rpartition(",")[2].strip().lower() == "https"


def cookie_attributes(
    request: web.Request, trusted: Sequence[IPv4Network | IPv6Network]
) -> dict[str, Any]:
    """Build the attributes of a cookie that only this host gets, and no script."""
    secure = is_secure(request, trusted)
    return {"httponly": True, "samesite": "Strict", "secure": secure, "path": "/"}

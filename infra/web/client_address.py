"""Determines the client's address and device (``User-Agent``).

Any client can send ``X-Forwarded-For`` (or ``Forwarded``, RFC 7239; the setting
``FORWARDED_HEADER`` names the one that the proxies write). Its addresses are read from the right:
the first one that is not a trusted proxy is the client's. Ports, brackets, quotes and IPv6 zones
around an address are ignored, since proxies write all of them. If a trusted proxy adds no readable
address, the address of that proxy counts, and a warning is logged.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Literal

from aiohttp import web

from schemas.users import ClientInfo

MAX_DEVICE_LENGTH = 200
LOG_INTERVAL = 10.0  # seconds between two warnings about a proxy that adds no address
# RFC 6052: the last 32 bits are the address of an IPv4 client behind a translator (RFC 7755).
NAT64_PREFIX = IPv6Network("64:ff9b::/96")
# An address with an optional port (RFC 7239, section 6: a number or an obfuscated one).
BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[A-Za-z0-9._-]{0,40})?")
IPV4_PORT = re.compile(r"([0-9.]+):[A-Za-z0-9._-]{0,40}")
IPV6_PORT = re.compile(r"(.*:.*):[0-9]{1,5}")
PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
HeaderName = Literal["X-Forwarded-For", "Forwarded"]

log = logging.getLogger(__name__)
_log_after = 0.0


def get_client(
    request: web.BaseRequest, trusted: Sequence[Network], header: HeaderName = "X-Forwarded-For"
) -> ClientInfo:
    """Return the address and the device of the client that sent a request."""
    address = parse_address(request.remote or "")
    if address is not None and trusted:
        address = _resolve_forwarded(address, request.headers.getall(header, ()), trusted, header)
    agent = "".join(c for c in request.headers.get("User-Agent", "") if c.isprintable())
    return ClientInfo(
        address=None if address is None else str(address), device=agent[:MAX_DEVICE_LENGTH] or None
    )


def parse_address(text: str) -> Address | None:
    """Parse an address with or without port, brackets, quotes and zone; None for anything else.

    IPv4-mapped and translated IPv6 addresses are converted to IPv4.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    bracketed = BRACKETED.fullmatch(text)
    if bracketed:
        return _parse_ip(bracketed[1], IPv6Address)
    with_port = IPV4_PORT.fullmatch(text)
    if with_port:
        return _parse_ip(with_port[1], IPv4Address)
    address = _parse_ip(text)
    if address is None and (with_port := IPV6_PORT.fullmatch(text)):
        return _parse_ip(with_port[1], IPv6Address)
    return address


def _parse_ip(text: str, kind: type[Address] | None = None) -> Address | None:
    try:
        address = (kind or ip_address)(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64_PREFIX:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _resolve_forwarded(
    peer: Address, lines: Sequence[str], trusted: Sequence[Network], header: HeaderName
) -> Address:
    hops = _forwarded(lines) if header == "Forwarded" else _forwarded_for(lines)
    while any(peer in network for network in trusted):
        hop = next(hops, None)
        if hop is None:
            break
        address = parse_address(hop)
        if address is None:  # everything further left may be forged by the client
            _log_unreadable(peer)
            break
        peer = address
    return peer


def _forwarded_for(lines: Sequence[str]) -> Iterator[str]:
    """Yield the addresses of ``X-Forwarded-For``, the last one first, without empty elements."""
    for line in reversed(lines):
        for hop in reversed(line.split(",")):
            if hop.strip():
                yield hop


def _forwarded(lines: Sequence[str]) -> Iterator[str]:
    """Yield ``for`` of each element of ``Forwarded`` (RFC 7239), the last one first.

    "unknown" for an element without ``for``. A malformed line makes everything before it unusable.
    """
    elements: list[str] = []
    for line in lines:
        read = _elements(line)
        if read is None:
            elements.clear()
            elements.append("malformed")
        else:
            elements += read
    yield from reversed(elements)


def _elements(line: str) -> list[str] | None:
    found: list[str] = []
    for element in _split(line, ","):
        if not element.strip():
            continue
        pairs = [PAIR.fullmatch(pair) for pair in _split(element, ";") if pair.strip()]
        said = {pair[1].lower(): pair[2] for pair in pairs if pair}
        if None in pairs or len(said) < len(pairs):
            return None
        found.append(re.sub(r"\\(.)", r"\1", said.get("for", "unknown")))
    return found


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside double quotes."""
    return re.findall(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+', text)


def _log_unreadable(proxy: Address) -> None:
    global _log_after  # noqa: PLW0603 - one line in a while for the whole process
    now = monotonic()
    if now >= _log_after:
        _log_after = now + LOG_INTERVAL
        log.warning(
            "a trusted proxy adds no readable client address: its clients share one rate limit",
            extra={"principal": str(proxy)},
        )

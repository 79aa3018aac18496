"""Who is at the other end of a connection: an address that we can believe, and a device.

``X-Forwarded-For`` is written by whoever likes to. Of its addresses, read from the right, those
count that a proxy of ours has added: the first one that is no proxy of ours is the client's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from schemas.accounts import Client

DEVICE_LENGTH = 200

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_of(request: web.BaseRequest, trusted: Sequence[Network]) -> Client:
    """Tell the address and the device (``User-Agent``) of a request's sender."""
    address = _address(request.remote or "")
    if address is not None and trusted:
        address = _beyond_proxies(address, request.headers.getall("X-Forwarded-For", ()), trusted)
    agent = "".join(c for c in request.headers.get("User-Agent", "") if c.isprintable())
    return Client(
        address=None if address is None else str(address), device=agent[:DEVICE_LENGTH] or None
    )


def _beyond_proxies(peer: Address, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address:
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    while hops and any(peer in network for network in trusted):
        found = _address(hops.pop())
        if found is None:  # a proxy of ours has added no address: go no further
            break
        peer = found
    return peer


def _address(text: str) -> Address | None:
    """Read an address; an IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

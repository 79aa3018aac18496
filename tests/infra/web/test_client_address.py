"""Tests which address of a request is the client's."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from infra.web.client_address import get_client

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
CASES = [
    # peer, X-Forwarded-For lines, the address that counts
    ("203.0.113.7", [], "203.0.113.7"),
    ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # the peer is not trusted
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the rest is the client's own tale
    ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
    ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ("fd00::1%eth0", ["::ffff:198.51.100.1"], "198.51.100.1"),
    # With ports, brackets, quotes and zones, as proxies write them.
    ("10.0.0.1", ["203.0.113.7:17085"], "203.0.113.7"),
    ("10.0.0.1", ["1.1.1.1:1, 203.0.113.7:17085 , 10.0.0.9:443"], "203.0.113.7"),
    ("10.0.0.1", ["[2001:db8::1]:17085"], "2001:db8::1"),
    ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
    ("10.0.0.1", ["2001:db8::1:17085"], "2001:db8::1"),
    ("10.0.0.1", ["2001:db8:1:2:3:4:5:6:443"], "2001:db8:1:2:3:4:5:6"),
    ("10.0.0.1", ["[fe80::1%25eth0]:17085"], "fe80::1"),
    ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
    ("10.0.0.1", ['"[2001:db8::1]:17085"'], "2001:db8::1"),
    ("10.0.0.1", ["[::ffff:203.0.113.7]:17085"], "203.0.113.7"),
    ("10.0.0.1", ["::FFFF:CB00:7107"], "203.0.113.7"),
    ("10.0.0.1", ["64:ff9b::203.0.113.7"], "203.0.113.7"),  # behind a translator (RFC 7755)
    ("10.0.0.1", ["203.0.113.7:_hidden"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7, , "], "203.0.113.7"),  # RFC 9110, section 5.6.1.2
    ("10.0.0.1", ["203.0.113.7", "", " "], "203.0.113.7"),
    # What is no address, where a trusted proxy should have added one: the proxy's own.
    ("10.0.0.1", ["203.0.113.7, unknown"], "10.0.0.1"),
    ("10.0.0.1", ["_hidden"], "10.0.0.1"),
    ("10.0.0.1", ["[203.0.113.7]"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7:80:80"], "10.0.0.1"),
    ("10.0.0.1", ["2001:db8::1]"], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113"], "10.0.0.1"),
    ("10.0.0.1", [""], "10.0.0.1"),
]
FORWARDED = [
    ("10.0.0.1", ["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
    ("10.0.0.1", ['For="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
    ("10.0.0.1", ["for=1.1.1.1, for=192.0.2.43;by=10.0.0.2, for=10.0.0.2"], "192.0.2.43"),
    ("10.0.0.1", ["for=1.1.1.1", 'proto=https ; for="192.0.2.43:47011"'], "192.0.2.43"),
    ("10.0.0.1", ['for="a,b;for=1.1.1.1\\"";host="x", for=192.0.2.43'], "192.0.2.43"),
    ("10.0.0.1", ["for=192.0.2.43, for=unknown"], "10.0.0.1"),
    ("10.0.0.1", ["for=192.0.2.43, proto=http"], "10.0.0.1"),
    ("10.0.0.1", ["for=_gazonk"], "10.0.0.1"),
    ("10.0.0.1", ["for=192.0.2.43;for=1.1.1.1"], "10.0.0.1"),
    ("10.0.0.1", ['for="192.0.2.43'], "10.0.0.1"),
    ("10.0.0.1", ["for="], "10.0.0.1"),
    ("203.0.113.7", ["for=192.0.2.60"], "203.0.113.7"),
    ("10.0.0.1", [], "10.0.0.1"),
]


class Transport:
    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._peer, 4711) if name == "peername" else default


@pytest.mark.parametrize(("peer", "lines", "address"), CASES)
def test_only_addresses_added_by_trusted_proxies_count(
    peer: str, lines: list[str], address: str
) -> None:
    headers = [("X-Forwarded-For", line) for line in lines]
    headers.append(("Forwarded", "for=198.51.100.99"))
    request = make_mocked_request("GET", "/", transport=Transport(peer))
    request = request.clone(headers=headers)
    assert get_client(request, PROXIES).address == address


@pytest.mark.parametrize(("peer", "lines", "address"), FORWARDED)
def test_the_forwarded_header_is_read_if_the_proxies_write_it(
    peer: str, lines: list[str], address: str
) -> None:
    headers = [("Forwarded", line) for line in lines]
    headers.append(("X-Forwarded-For", "198.51.100.99"))
    request = make_mocked_request("GET", "/", transport=Transport(peer))
    request = request.clone(headers=headers)
    assert get_client(request, PROXIES, "Forwarded").address == address


def test_without_trusted_proxies_only_the_peer_address_counts() -> None:
    request = make_mocked_request("GET", "/", transport=Transport("10.0.0.1"))
    request = request.clone(headers={"X-Forwarded-For": "198.51.100.1"})
    assert get_client(request, ()).address == "10.0.0.1"


def test_a_device_is_short_and_printable() -> None:
    request = make_mocked_request("GET", "/", headers={"User-Agent": "curl/8\x00" + "x" * 500})
    device = get_client(request, ()).device
    assert device is not None
    assert device.startswith("curl/8x")
    assert len(device) == 200

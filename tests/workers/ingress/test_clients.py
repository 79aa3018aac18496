"""Which address of a request is believed."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from workers.ingress.clients import client_of

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
CASES = [
    # peer, X-Forwarded-For lines, the address that counts
    ("203.0.113.7", [], "203.0.113.7"),
    ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # a stranger says so
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # the rest is the client's own tale
    ("10.0.0.1", ["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
    ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
    ("fd00::1%eth0", ["::ffff:198.51.100.1"], "198.51.100.1"),
]


class Transport:
    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._peer, 4711) if name == "peername" else default


@pytest.mark.parametrize(("peer", "lines", "address"), CASES)
def test_only_what_proxies_of_ours_have_added_is_believed(
    peer: str, lines: list[str], address: str
) -> None:
    headers = [("X-Forwarded-For", line) for line in lines]
    request = make_mocked_request("GET", "/", transport=Transport(peer))
    request = request.clone(headers=headers)
    assert client_of(request, PROXIES).address == address


def test_without_proxies_only_the_connection_counts() -> None:
    request = make_mocked_request("GET", "/", transport=Transport("10.0.0.1"))
    request = request.clone(headers={"X-Forwarded-For": "198.51.100.1"})
    assert client_of(request, ()).address == "10.0.0.1"


def test_a_device_is_short_and_printable() -> None:
    request = make_mocked_request("GET", "/", headers={"User-Agent": "curl/8\x00" + "x" * 500})
    device = client_of(request, ()).device
    assert device is not None
    assert device.startswith("curl/8x")
    assert len(device) == 200

"""Reads when the certificates expire that Adrelay's servers present over TLS."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509

from infra.errors import Outage
from infra.settings import Settings

TIMEOUT = 5.0  # seconds for a connection and its handshake
# The default ports of the schemes that mean TLS from the first byte.
TLS_PORTS = {"amqps": 5671, "rediss": 6379, "https": 443}
MANAGEMENT_PORT = 15671


@dataclass(frozen=True, slots=True, order=True)
class TlsEndpoint:
    """A host and port that a setting names with a scheme of TLS."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def list_tls_endpoints(settings: Settings) -> list[TlsEndpoint]:
    """List the servers that are reached over TLS: broker, its management API, Redis, ingress.

    Certificates of ad platforms are theirs to renew. Postgres begins TLS inside its own protocol
    and is not among them.
    """
    urls = [
        *((url, 0) for url in settings.rabbitmq_url.get_secret_value().split()),
        (settings.redis_url.get_secret_value(), 0),
        (settings.public_url, 0),
    ]
    if settings.rabbitmq_management_url is not None:
        urls.append((settings.rabbitmq_management_url.get_secret_value(), MANAGEMENT_PORT))
    found = set()
    for url, default in urls:
        parts = urlsplit(url)
        if parts.scheme in TLS_PORTS and parts.hostname:
            port = parts.port or default or TLS_PORTS[parts.scheme]
            found.add(TlsEndpoint(parts.hostname, port))
    return sorted(found)


async def read_certificate_expiry(endpoint: TlsEndpoint) -> datetime:
    """Connect and read the end of the certificate's validity, in UTC (RFC 5280, 4.1.2.5).

    The certificate is not verified, so that one that has expired is read too; nothing is sent
    over the connection. Raises ``Outage`` when there is no handshake in time.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
            )
    except (OSError, TimeoutError) as error:
        raise Outage(f"no TLS handshake with {endpoint}: {type(error).__name__}") from error
    try:
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        encoded = session.getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if encoded is None:
        raise Outage(f"{endpoint} presents no certificate")
    try:
        return x509.load_der_x509_certificate(encoded).not_valid_after_utc
    except ValueError as error:
        raise Outage(f"the certificate of {endpoint} cannot be read") from error

"""The certificates that servers present, read from real TLS servers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from infra.errors import Outage
from infra.security.tls_certificates import (
    TlsEndpoint,
    list_tls_endpoints,
    read_certificate_expiry,
)
from infra.settings import Settings

NOW = datetime.now(UTC).replace(microsecond=0)


def write_certificate(folder: Path, end: datetime) -> ssl.SSLContext:
    """Make a server's context with a certificate of its own that is valid until ``end``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=90))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def tls_server(context: ssl.SSLContext | None) -> AsyncIterator[TlsEndpoint]:
    """Serve handshakes, or with no context a server that closes every connection."""

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    async with server:
        yield TlsEndpoint("127.0.0.1", server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("days", [-1, 20], ids=["has expired", "is valid"])
async def test_the_expiry_of_a_certificate_is_read_that(days: int, tmp_path: Path) -> None:
    end = NOW + timedelta(days=days)
    async with tls_server(write_certificate(tmp_path, end)) as endpoint:
        assert await read_certificate_expiry(endpoint) == end


async def test_a_server_without_tls_is_an_outage() -> None:
    async with tls_server(None) as endpoint:
        with pytest.raises(Outage, match=r"no TLS handshake with 127\.0\.0\.1:"):
            await read_certificate_expiry(endpoint)


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(Outage, match=r"no TLS handshake with 127\.0\.0\.1:1: ConnectionRefused"):
        await read_certificate_expiry(TlsEndpoint("127.0.0.1", 1))


def test_the_servers_of_the_settings_are_those_with_a_scheme_of_tls(settings: Settings) -> None:
    assert list_tls_endpoints(settings) == []
    own = settings.model_copy(
        update={
            "rabbitmq_url": SecretStr("amqps://u:p@one/v amqp://u:p@two/v amqps://u:p@[::1]:99/v"),
            "rabbitmq_management_url": SecretStr("https://u:p@one"),
            "redis_url": SecretStr("rediss://:p@cache:7000/0"),
            "public_url": "https://adrelay.example",
        }
    )
    assert [str(endpoint) for endpoint in list_tls_endpoints(own)] == [
        "[::1]:99",
        "adrelay.example:443",
        "cache:7000",
        "one:5671",
        "one:15671",
    ]

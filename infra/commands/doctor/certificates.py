"""Checks the certificate of every TLS endpoint of the settings: valid, and for how long."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from events.envelope import now
from infra.commands.doctor.examination import Examination
from infra.commands.doctor.finding import Finding, Level, not_checked, ok
from infra.settings import Settings
from infra.settings.rules import to_text
from infra.settings.tls import Server
from infra.tls import NO_TLS_FILES, TlsFiles, UnusableTlsFiles, get_tls_context
from schemas.types import PLATFORMS

WARNING_DAYS, ERROR_DAYS = 30, 7
PORTS = {"amqps": 5671, "https": 443, "rediss": 6379, "postgresql": 5432}
SECURE_MODES = {"require", "verify-full"}
# PostgreSQL manual, "Frontend/Backend Protocol", SSLRequest: length 8, code 80877103.
POSTGRES_TLS_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True, slots=True)
class CertifiedEndpoint:
    """A server that is spoken to over TLS, with the files of the settings."""

    name: str
    scheme: str
    host: str
    port: int
    files: TlsFiles


def list_endpoints(settings: Settings) -> list[CertifiedEndpoint]:
    """List the TLS endpoints that the settings name."""
    urls = {
        "RABBITMQ_URL": settings.rabbitmq_url,
        "RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "PUBLIC_URL": settings.public_url,
        **{f"{name.upper()}_URL": settings.platform(name).url for name in PLATFORMS},
    }
    return [
        endpoint
        for name, value in urls.items()
        if value is not None
        for url in to_text(value).split()
        for endpoint in _parse_endpoint(name, url, _get_files(settings, name))
    ]


def _get_files(settings: Settings, name: str) -> TlsFiles:
    servers: tuple[Server, ...] = ("rabbitmq", "database", "redis")
    found = [server for server in servers if name.startswith(server.upper())]
    return settings.tls(found[0]) if found else NO_TLS_FILES


def _parse_endpoint(name: str, url: str, files: TlsFiles) -> Iterator[CertifiedEndpoint]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    scheme = parts.scheme.partition("+")[0].replace("postgres", "postgresql")[:10]
    if scheme == "postgresql":
        modes = query.get("sslmode", []) + query.get("ssl", [])
        if not (files or SECURE_MODES.intersection(modes)):
            return
    if scheme in PORTS and parts.hostname:
        authority = query.get("cafile", []) + query.get("ssl_ca_certs", [])
        port = parts.port or (15671 if name == "RABBITMQ_MANAGEMENT_URL" else PORTS[scheme])
        files = files or TlsFiles(ca=authority[0] if authority else "")
        yield CertifiedEndpoint(name, scheme, parts.hostname, port, files)


async def check_certificates(examination: Examination) -> list[Finding]:
    """Make a TLS handshake with each endpoint, and judge how long its certificate is valid."""
    endpoints = list_endpoints(examination.settings)
    if not endpoints:
        return [ok("certificates", "no setting names an endpoint with TLS")]
    return list(await asyncio.gather(*map(_check_endpoint, endpoints)))


async def _check_endpoint(endpoint: CertifiedEndpoint) -> Finding:
    place = f"{endpoint.name} ({endpoint.host}:{endpoint.port})"
    try:
        certificate = await _read_certificate(endpoint)
    except ssl.SSLCertVerificationError as error:
        found = f"{place}: {error.verify_message}"
        why = "clients that verify it do not connect"
        action = "renew the certificate, or name its authority"
        return Finding(Level.ERROR, "certificates", found, why, action)
    except (OSError, UnusableTlsFiles) as error:
        return not_checked("certificates", f"{place}: {error or type(error).__name__}")
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now().timestamp()) / 86_400
    if days > WARNING_DAYS:
        return ok("certificates", f"{place}: valid for {days:.0f} days")
    level = Level.ERROR if days <= ERROR_DAYS else Level.WARNING
    why = "when it has expired, nobody connects"
    return Finding(level, "certificates", f"{place}: expires in {days:.1f} days", why, "renew it")


async def _read_certificate(endpoint: CertifiedEndpoint) -> dict[str, Any]:
    context = get_tls_context(endpoint.files)
    if endpoint.scheme == "postgresql":
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(POSTGRES_TLS_REQUEST)
        if await reader.readexactly(1) != b"S":
            writer.close()
            raise ConnectionError("the server offers no TLS")
        await writer.start_tls(context, server_hostname=endpoint.host)
    else:
        _, writer = await asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
        )
    certificate: dict[str, Any] = writer.get_extra_info("peercert")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return certificate

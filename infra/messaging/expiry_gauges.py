"""Exports when certificates, API keys and tokens of connected accounts expire."""

import asyncio
import logging
import time
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra import metrics
from infra.backoff import sleep_until
from infra.errors import Outage
from infra.resources import Resources
from infra.security.tls_certificates import (
    TlsEndpoint,
    list_tls_endpoints,
    read_certificate_expiry,
)
from infra.settings import Settings
from infra.storage.api_keys import list_next_expiries
from infra.storage.platform_accounts import find_earliest_expiries
from schemas.types import PLATFORMS

INTERVAL = 60.0  # seconds
CERTIFICATE_INTERVAL = 3600.0  # seconds; a certificate lasts for weeks
CERTIFICATE = "certificate"
API_KEY = "api_key"
PLATFORM_ACCOUNT = "platform_account"
MAX_API_KEYS = 50  # those that expire next; each is a time series

Expiries = Mapping[tuple[str, str], float]  # (kind, name) -> seconds since 1970; 0: none expires

log = logging.getLogger(__name__)


async def export_expiries(resources: Resources, stop: asyncio.Event) -> None:
    """Set the gauge every minute until ``stop`` is set."""
    certificates: dict[TlsEndpoint, float] = {}
    stored: Expiries = {}
    exported: set[tuple[str, str]] = set()
    due = 0.0
    while not stop.is_set():
        if time.monotonic() >= due:
            due = time.monotonic() + CERTIFICATE_INTERVAL
            await read_certificates(resources.settings, certificates)
        try:
            async with resources.engine.connect() as connection:
                stored = await read_stored_expiries(connection)
        except (SQLAlchemyError, OSError) as error:
            log.warning("the expiries cannot be read", extra={"error": type(error).__name__})
        found = {(CERTIFICATE, str(endpoint)): at for endpoint, at in certificates.items()}
        exported = _export({**found, **stored}, exported)
        await sleep_until(stop, INTERVAL)


async def read_certificates(settings: Settings, known: dict[TlsEndpoint, float]) -> None:
    """Update the expiry of each server's certificate; an unreachable server keeps the last one."""
    for endpoint in list_tls_endpoints(settings):
        try:
            known[endpoint] = (await read_certificate_expiry(endpoint)).timestamp()
        except Outage as error:
            log.warning("a certificate cannot be read", extra={"reason": str(error)})


async def read_stored_expiries(tx: AsyncConnection) -> Expiries:
    """Read the next expiries of API keys, and the earliest of the tokens at each platform."""
    keys = await list_next_expiries(tx, MAX_API_KEYS)
    accounts = await find_earliest_expiries(tx)
    found = {(API_KEY, prefix): at.timestamp() for prefix, at in keys.items()}
    for platform in PLATFORMS:
        at = accounts.get(platform)
        found[PLATFORM_ACCOUNT, platform] = 0.0 if at is None else at.timestamp()
    return found


def _export(expiries: Expiries, before: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Set the gauge, and remove what has expired or was revoked; returns what is exported."""
    for (kind, name), at in expiries.items():
        metrics.EXPIRY_TIMESTAMP.labels(kind, name).set(at)
    for kind, name in before - set(expiries):
        metrics.EXPIRY_TIMESTAMP.remove(kind, name)
    return set(expiries)

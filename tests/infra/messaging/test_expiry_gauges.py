"""What expires, as the relay exports it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from prometheus_client import REGISTRY
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.messaging import expiry_gauges
from infra.resources import Resources
from infra.storage.api_keys import generate_api_key, insert_api_key, revoke_api_key
from infra.storage.users import UserRow, insert_users
from schemas.types import PLATFORMS
from schemas.users import User
from tests.infra.ledger import until
from tests.infra.security.test_tls_certificates import tls_server, write_certificate

NOW = datetime.now(UTC).replace(microsecond=0)
SOON = NOW + timedelta(days=3)
INSERT_ACCOUNT = text("""
    insert into platform_accounts (user_id, platform, state, scopes, key_id, ciphertext, version,
        expires_at)
    values (:user_id, 'claude', :state, '{}', 'k', '', :version, :expires_at)
""")


def exported() -> Mapping[tuple[str, str], float]:
    [metric] = [m for m in REGISTRY.collect() if m.name == "adrelay_expiry_timestamp_seconds"]
    return {(s.labels["kind"], s.labels["name"]): s.value for s in metric.samples}


async def user(tx: AsyncConnection) -> UUID:
    made = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role="manager")
    await insert_users(tx, [UserRow(made, "hash")])
    return made.id


async def api_key(engine: AsyncEngine, expires_at: datetime | None) -> tuple[str, UUID]:
    key = generate_api_key()
    async with engine.begin() as tx:
        made = await insert_api_key(
            tx,
            key,
            name="crm",
            owner_id=await user(tx),
            scopes=("events:publish",),
            sources=("urn:example:crm",),
            expires_at=expires_at,
        )
    assert made is not None
    return key.prefix, made.id


async def account(engine: AsyncEngine, state: str, expires_at: datetime | None) -> None:
    async with engine.begin() as tx:
        row = {"user_id": await user(tx), "state": state, "version": uuid4()}
        await tx.execute(INSERT_ACCOUNT, {**row, "expires_at": expires_at})


@asynccontextmanager
async def exporting(resources: Resources) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(expiry_gauges.export_expiries(resources, stop))
    yield
    stop.set()
    await task


async def is_exported(kind: str, name: str) -> bool:
    return (kind, name) in exported()


async def test_keys_that_expire_are_exported_by_their_prefix_until_they_are_revoked(
    resources: Resources, engine: AsyncEngine
) -> None:
    soon, key_id = await api_key(engine, SOON)
    gone, _ = await api_key(engine, NOW - timedelta(seconds=1))
    for_ever, _ = await api_key(engine, None)
    async with exporting(resources):
        await until(lambda: is_exported("api_key", soon))
    found = exported()
    assert found["api_key", soon] == SOON.timestamp()
    assert not {("api_key", gone), ("api_key", for_ever)} & set(found)

    async with engine.begin() as tx:
        await revoke_api_key(tx, key_id)
    async with engine.connect() as connection:
        assert ("api_key", soon) not in await expiry_gauges.read_stored_expiries(connection)


async def test_of_connected_accounts_the_first_expiry_of_each_platform_is_exported(
    resources: Resources, engine: AsyncEngine
) -> None:
    for days in (2, 1, 3):
        await account(engine, "connected", NOW + timedelta(days=days))
    await account(engine, "disconnected", NOW - timedelta(days=9))
    await account(engine, "connected", None)
    expected = {**dict.fromkeys(PLATFORMS, 0.0), "claude": (NOW + timedelta(days=1)).timestamp()}

    async def is_complete() -> bool:
        found = exported().items()
        return {name: at for (kind, name), at in found if kind == "platform_account"} == expected

    async with exporting(resources):
        await until(is_complete)


async def test_certificates_are_exported_and_an_unreachable_server_stops_nothing(
    resources: Resources, tmp_path: Path
) -> None:
    async with tls_server(write_certificate(tmp_path, SOON)) as endpoint:
        urls = SecretStr(f"amqps://u:p@{endpoint}/v amqps://u:p@127.0.0.1:1/v")
        own = resources.settings.model_copy(update={"rabbitmq_url": urls})
        async with exporting(replace(resources, settings=own)):
            await until(lambda: is_exported("certificate", str(endpoint)))
    found = {name: at for (kind, name), at in exported().items() if kind == "certificate"}
    assert found == {str(endpoint): SOON.timestamp()}

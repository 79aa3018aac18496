"""Tests token refresh, withdrawn consents and changed keys against the sandbox platforms."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from handlers.auth.token_refresh import refresh_due_tokens
from infra.deploy.secrets import make_secrets
from infra.resources import Resources
from infra.security.encryption import Encryptor
from infra.security.keyring import Keyring
from infra.security.oauth_tokens import decrypt_tokens
from infra.settings import Settings
from infra.storage.pauses import PauseKind, PauseTarget, delete_pause, pause
from infra.storage.platform_accounts import (
    PlatformAccountRow,
    find_connected_accounts,
    lease_due_accounts,
    store_refreshed_tokens,
)
from schemas.types import Platform
from tests.consent import PLATFORM, Owner, Stage, open_stage

PLATFORMS: tuple[Platform, ...] = ("claude", "chatgpt", "gemini")


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with open_stage(settings, keeping=False) as stage:
        yield stage


@pytest.fixture
async def browser(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    async with stage.browser() as browser:
        yield browser


@pytest.fixture
async def owner(stage: Stage, browser: aiohttp.ClientSession) -> Owner:
    return await stage.register(browser)


async def sql(stage: Stage, statement: str) -> list[Any]:
    async with stage.resources.engine.begin() as tx:
        result = await tx.execute(text(statement))
        return list(result) if result.returns_rows else []


async def make_due(stage: Stage) -> None:
    await sql(stage, "update platform_accounts set due_at = now() - interval '1 second'")


async def held(stage: Stage, owner: Owner, platform: Platform = "claude") -> PlatformAccountRow:
    async with stage.resources.engine.connect() as tx:
        [account] = await find_connected_accounts(tx, {(owner.id, platform)})
    return account


def decrypt(stage: Stage, account: PlatformAccountRow) -> Any:
    encryptor = Encryptor(stage.settings)
    return decrypt_tokens(encryptor, account.user_id, account.platform, account.ciphertext)


async def keep(stage: Stage, resources: Resources | None = None) -> int:
    return await refresh_due_tokens(resources or stage.resources)


def with_keys(resources: Resources, keys: str) -> Resources:
    settings = resources.settings.model_copy(update={"vault_keys": SecretStr(keys)})
    return replace(resources, settings=settings, keys=Keyring(settings, resources.redis))


async def keep_slowly(stage: Stage, latency_ms: int) -> "asyncio.Task[int]":
    """Begin to renew what is due, and stop where the platform has been asked."""
    await make_due(stage)
    await stage.sandbox.faults("claude", latency_ms=latency_ms)
    keeping = asyncio.create_task(keep(stage))
    async with asyncio.timeout(10):
        while not await sql(stage, "select 1 from platform_accounts where leased_until > now()"):
            await asyncio.sleep(0.01)
    return keeping


async def published_types(stage: Stage) -> list[str]:
    rows = await sql(
        stage, "select routing_key from outbox where routing_key like 'platform.%' order by id"
    )
    return [row[0] for row in rows]


async def consents(stage: Stage, platform: str = "claude") -> list[dict[str, Any]]:
    return list(await stage.sandbox.control("GET", f"/{platform}/consents"))


@pytest.mark.parametrize("name", PLATFORMS)
async def test_a_token_is_refreshed_before_it_expires_and_its_refresh_token_with_it(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, name: Platform
) -> None:
    await stage.connect(browser, owner, name)
    assert await keep(stage) == 0  # it is fresh
    [(ahead,)] = await sql(
        stage, "select extract(epoch from expires_at - due_at) from platform_accounts"
    )
    assert ahead == 300
    before = decrypt(stage, await held(stage, owner, name))
    for count in (1, 2):
        await make_due(stage)
        assert await keep(stage) == 1
        after = decrypt(stage, await held(stage, owner, name))
        assert (after.access != before.access, after.refresh != before.refresh) == (True, True)
        assert [c["refreshes"] for c in await consents(stage, name)] == [count]
        before = after
    assert await keep(stage) == 0
    assert await published_types(stage) == [f"platform.account_connected.v1.{name}"]


async def test_of_many_workers_one_refreshes_an_account(
    stage: Stage, browser: aiohttp.ClientSession
) -> None:
    for _ in range(6):
        await stage.connect(browser, await stage.register(browser))
    await make_due(stage)
    kept = await asyncio.gather(*(keep(stage) for _ in range(8)))
    assert sum(kept) == 6
    assert [c["refreshes"] for c in await consents(stage)] == [1] * 6
    assert not any(c["revoked"] for c in await consents(stage))


@pytest.mark.parametrize("kind", ["platform", "account"])
async def test_a_paused_platform_or_account_is_asked_for_no_tokens_but_a_disconnected_one_revoked(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, kind: PauseKind
) -> None:
    await stage.connect(browser, owner)
    target = PauseTarget(kind, "claude", str(owner.id) if kind == "account" else "")
    async with stage.resources.engine.begin() as tx:
        assert await pause(tx, target, reason="a test", paused_by="olga")
    await make_due(stage)
    assert await keep(stage) == 0
    async with stage.resources.engine.begin() as tx:
        assert await delete_pause(tx, target)
    assert await keep(stage) == 1
    async with stage.resources.engine.begin() as tx:
        assert await pause(tx, target, reason="a test", paused_by="olga")
    disconnected = await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)
    assert disconnected.status in (202, 204)
    while not await consents_are_revoked(stage):
        await keep(stage)


async def consents_are_revoked(stage: Stage) -> bool:
    return all(consent["revoked"] for consent in await consents(stage))


async def test_no_transaction_is_open_while_the_platform_is_called(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    keeping = await keep_slowly(stage, latency_ms=1_500)
    open_ones = await sql(
        stage,
        "select 1 from pg_stat_activity where state like 'idle in transaction%'"
        " and datname = current_database()",
    )
    assert (open_ones, keeping.done()) == ([], False)
    assert await keeping == 1


async def test_a_consent_that_was_withdrawn_there_disconnects_the_account_with_the_reason(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    await stage.sandbox.control("DELETE", "/claude/consents")
    await make_due(stage)
    assert await keep(stage) == 1
    [account] = await stage.accounts(browser, owner)
    assert account["state"] == "disconnected"
    assert account["reason"] == (
        "Claude Ads no longer accepts the consent: the consent was withdrawn or has expired"
    )
    assert await published_types(stage) == [
        "platform.account_connected.v1.claude",
        "platform.account_disconnected.v1.claude",
    ]
    assert await sql(stage, "select length(ciphertext) from platform_accounts") == [(0,)]
    acts = "select actor, subject from audit where action = 'platform.lapse'"
    assert await sql(stage, acts) == [(None, f"claude/{owner.id}")]
    assert (await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)).status == 204
    assert await stage.accounts(browser, owner) == []
    assert len(await published_types(stage)) == 2


async def test_a_disconnected_account_can_be_connected_again(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    await stage.sandbox.control("DELETE", "/claude/consents")
    await make_due(stage)
    await keep(stage)
    await stage.connect(browser, owner)
    [account] = await stage.accounts(browser, owner)
    assert (account["state"], account["reason"]) == ("connected", None)
    await make_due(stage)
    assert await keep(stage) == 1
    assert (await consents(stage))[-1]["refreshes"] == 1


@pytest.mark.parametrize("fault", [{"outage": True}, {"refuse_credentials": True}])
async def test_a_platform_in_trouble_disconnects_nobody(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, fault: dict[str, Any]
) -> None:
    await stage.connect(browser, owner)
    before = (await held(stage, owner)).version
    await make_due(stage)
    await stage.sandbox.faults("claude", **fault)
    assert await keep(stage) == 1
    assert await keep(stage) == 0  # it rests until the lease ends
    assert (await held(stage, owner)).version == before
    await stage.sandbox.control("DELETE", "/claude")
    await sql(stage, "update platform_accounts set leased_until = now() - interval '1 second'")
    assert await keep(stage) == 1
    assert (await held(stage, owner)).version != before


async def test_a_worker_that_was_suspended_beyond_its_lease_overwrites_nothing(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    await make_due(stage)
    async with stage.resources.engine.begin() as tx:
        [frozen] = await lease_due_accounts(tx, 1, 30)
    await stage.connect(browser, owner)  # meanwhile its owner has connected it again
    newest = await held(stage, owner)
    async with stage.resources.engine.begin() as tx:
        times: Any = type("Times", (), {"expires_at": None, "due_at": None})
        assert not await store_refreshed_tokens(tx, frozen, frozen.ciphertext, times, None)
    assert await held(stage, owner) == newest


async def test_tokens_that_are_refreshed_while_the_owner_disconnects_are_those_revoked(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    keeping = await keep_slowly(stage, latency_ms=500)
    assert (await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)).status == 202
    assert (await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)).status == 202
    assert await keeping == 1
    assert [c["refreshes"] for c in await consents(stage)] == [1]
    assert await keep(stage) == 1
    assert await published_types(stage) == [
        "platform.account_connected.v1.claude",
        "platform.account_disconnected.v1.claude",  # once
    ]
    assert [c["revoked"] for c in await consents(stage)] == [True]
    assert await stage.accounts(browser, owner) == []


async def test_a_new_key_reencrypts_what_the_retired_key_has_encrypted(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    before = await held(stage, owner)
    old = (stage.settings.vault_keys or SecretStr("")).get_secret_value()
    fresh = make_secrets()["VAULT_KEYS"]

    def worker(keys: str) -> Resources:
        return with_keys(stage.resources, keys)

    await make_due(stage)
    assert await keep(stage, worker(f"{fresh} {old}")) == 1  # the old key still opens
    await keep(stage, worker(f"{old} {fresh}"))  # and back, without a refresh
    after = await held(stage, owner)
    assert after.ciphertext.key_id == before.ciphertext.key_id
    await keep(stage, worker(f"{fresh} {old}"))
    assert (await held(stage, owner)).ciphertext.key_id != before.ciphertext.key_id
    assert (await held(stage, owner)).version == after.version
    await make_due(stage)
    assert await keep(stage, worker(fresh)) == 1  # the old key may go
    assert [c["refreshes"] for c in await consents(stage)] == [2]


async def test_tokens_whose_key_is_gone_disconnect_nobody(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.connect(browser, owner)
    await make_due(stage)
    lost = with_keys(stage.resources, make_secrets()["VAULT_KEYS"])
    assert await keep(stage, lost) == 1
    [account] = await stage.accounts(browser, owner)
    assert account["state"] == "connected"
    [record] = [
        r
        for r in caplog.records
        if r.message == "token refresh of an account failed, will be tried again"
    ]
    assert record.__dict__["reason"].startswith("VAULT_KEYS has no key")


async def test_tokens_of_one_account_are_not_decrypted_in_the_row_of_another(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    other = await stage.register(browser)
    await stage.connect(browser, owner)
    await stage.connect(browser, other)
    await sql(
        stage,
        f"update platform_accounts a set ciphertext = b.ciphertext from platform_accounts b"  # noqa: S608
        f" where a.user_id = '{other.id}' and b.user_id = '{owner.id}'",
    )
    await make_due(stage)
    assert await keep(stage) == 2
    assert [c["refreshes"] for c in await consents(stage)] == [1, 0]

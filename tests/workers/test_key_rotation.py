"""A rotation of the signing key with the real processes, restarted as the command says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.security.key_rotation import KEY_LIST_CACHE_TIME
from infra.settings import Settings
from tests.infra.security.test_key_rotation import Files
from tests.processes import Process, free_port

WHO = {"email": "ada@example.com", "password": "plain but long enough"}
MODULES = {"web": "workers.ingress", "auth": "workers.auth"}


class System:
    """An ingress and an auth worker that take their keys from two files when they start."""

    def __init__(self, settings: Settings, files: Files) -> None:
        self._settings, self._files = settings, files
        self._port = free_port()
        self.processes: dict[str, Process] = {}
        self.client = aiohttp.ClientSession(f"http://127.0.0.1:{self._port}/")
        self.access: list[str] = []
        self.refresh_token = ""

    async def restart(self, name: str) -> None:
        if name in self.processes:
            assert await self.processes[name].stop() == 0
        keys = self._files.settings()
        own = ("token_signing_key", "token_verify_keys", "token_keys_since")
        result = self._settings.model_copy(update={field: getattr(keys, field) for field in own})
        process = Process(MODULES[name], result, self._port if name == "web" else 0)
        self.processes[name] = process
        await process.start()
        await process.ready()

    async def _post(self, path: str, **body: str) -> dict[str, Any]:
        async with self.client.post(f"api/v1/auth/{path}", json=body) as response:
            assert response.status in (200, 201), await response.text()
            data: dict[str, Any] = (await response.json())["data"]
        self.access.append(data["access_token"])
        self.refresh_token = data["refresh_token"]
        return data

    async def everybody_goes_on(self) -> None:
        """Use all tokens that there ever were, refresh, and log in."""
        for token in self.access:
            headers = {"Authorization": f"Bearer {token}"}
            async with self.client.get("api/v1/auth/me", headers=headers) as response:
                assert response.status == 200, await response.text()
        await self._post("refresh", refresh_token=self.refresh_token)
        await self._post("login", **WHO)

    async def public_keys(self) -> int:
        async with self.client.get(".well-known/jwks.json") as response:
            age = int(response.headers["Cache-Control"].rpartition("=")[2])
            assert age < KEY_LIST_CACHE_TIME.total_seconds()
            return len((await response.json())["keys"])


@pytest.fixture
async def system(settings: Settings, files: Files) -> AsyncIterator[System]:
    system = System(settings, files)
    try:
        await asyncio.gather(system.restart("web"), system.restart("auth"))
        yield system
    finally:
        await system.client.close()
        for process in system.processes.values():
            if process.process.returncode is None:
                await process.kill()
            process.forget()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_nobody_is_logged_out_by_a_rotation(system: System, files: Files) -> None:
    await system._post("register", **WHO)
    listed, kids = [], set()
    for step in ("list", "sign", "drop"):
        status, result = files.command()
        assert (status, result["step"]) == (0, step)
        await system.everybody_goes_on()  # nobody has been restarted yet
        if step == "drop":
            system.access = system.access[-1:]  # the older ones have expired by then
        await system.restart(str(result["restart"]))
        await system.everybody_goes_on()
        listed.append(await system.public_keys())
        kids.add(system.access[-1].partition(".")[0])
        files.back_date(KEY_LIST_CACHE_TIME * 10)
    assert listed == [2, 2, 1]
    assert len(kids) == 2

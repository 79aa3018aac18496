"""A Redis of a test's own that can be made to refuse, in each way that Redis has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.processes import free_port

PASSWORD = "correct"
STARTING = 60.0  # seconds; the machine may be busy
ENDLESS = "while true do end"
LOAD_MICROSECONDS = 400_000  # for each key
Act = Callable[[Redis], Awaitable[object]]


class Refusing:
    """A running server, and the connection of its operator."""

    def __init__(self, port: int, operator: Redis) -> None:
        self.url = SecretStr(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
        self.operator = operator
        self._pending: list[asyncio.Task[Any]] = []

    async def refuse(self, how: str) -> None:
        """Begin to refuse; who is connected has to connect again."""
        await self.operator.mset({f"filler:{number}": "x" for number in range(20)})
        await self.tell("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await REFUSALS[how][0](self)

    async def relent(self, how: str) -> None:
        """Take everything again."""
        await REFUSALS[how][1](self)
        while self._pending:
            with suppress(RedisError):
                await self._pending.pop()

    async def tell(self, *words: str) -> Any:
        """Give a command that the client has no method for."""
        return await self.operator.execute_command(*words)  # type: ignore[no-untyped-call]

    async def configure(self, name: str, value: str) -> None:
        await self.operator.config_set(name, value)

    async def change_user(self, *rules: str) -> None:
        await self.tell("ACL", "SETUSER", "default", *rules)

    async def occupy(self, *words: str) -> None:
        """Let a command run that does not end by itself."""
        client = Redis.from_url(self.url.get_secret_value(), socket_timeout=60)

        async def run() -> Any:
            async with client:
                return await client.execute_command(*words)  # type: ignore[no-untyped-call]

        self._pending.append(asyncio.create_task(run()))

    async def replicate(self, port: str) -> None:
        await self.tell("REPLICAOF", *(("127.0.0.1", port) if port else ("NO", "ONE")))

    async def fail_to_save(self) -> None:
        """Have a snapshot fail, after which Redis takes no writes until one succeeds."""
        folder = await self._folder()
        (folder / "dump.rdb").unlink(missing_ok=True)
        (folder / "dump.rdb").mkdir()  # nothing can be renamed to it
        await self._save("err")

    async def save_again(self) -> None:
        folder = await self._folder()
        (folder / "dump.rdb").rmdir()
        await self._save("ok")

    async def _folder(self) -> Path:
        return Path((await self.operator.config_get("dir"))["dir"] or "")

    async def _save(self, ends: str) -> None:
        await self.operator.config_set("save", "3600 1")
        await self.operator.bgsave()
        async with asyncio.timeout(STARTING):
            while (await self.operator.info("persistence"))["rdb_last_bgsave_status"] != ends:
                await asyncio.sleep(0.02)

    async def load(self) -> None:
        await self.configure("key-load-delay", str(LOAD_MICROSECONDS))
        await self.occupy("DEBUG", "RELOAD")

    async def busy(self) -> None:
        await self.configure("busy-reply-threshold", "1")
        await self.occupy("EVAL", ENDLESS, "0")

    async def give_slots(self) -> None:
        await self.tell("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(STARTING):
            while b"cluster_state:ok" not in await self.tell("CLUSTER", "INFO"):
                await asyncio.sleep(0.05)


Step = Callable[[Refusing], Awaitable[object]]


def configured(name: str, bad: str, good: str) -> tuple[Step, Step]:
    return (lambda r: r.configure(name, bad)), (lambda r: r.configure(name, good))


def ruled(bad: tuple[str, ...], good: tuple[str, ...]) -> tuple[Step, Step]:
    return (lambda r: r.change_user(*bad)), (lambda r: r.change_user(*good))


REFUSALS: Mapping[str, tuple[Step, Step]] = {
    "OOM": configured("maxmemory", "1", "0"),
    "READONLY": ((lambda r: r.replicate("1")), (lambda r: r.replicate(""))),
    "NOREPLICAS": configured("min-replicas-to-write", "1", "0"),
    "MISCONF": (Refusing.fail_to_save, Refusing.save_again),
    "NOPERM": ruled(("-@write", "-@scripting"), ("+@all",)),
    "WRONGPASS": ruled(("resetpass", ">other"), ("resetpass", f">{PASSWORD}")),
    "max clients": configured("maxclients", "1", "1000"),
    "BUSY": (Refusing.busy, (lambda r: r.operator.script_kill())),
    "LOADING": (Refusing.load, (lambda r: r.configure("key-load-delay", "0"))),
}


@asynccontextmanager
async def open_refusing(folder: Path, *more: str) -> AsyncIterator[Refusing]:
    """Run a server for the length of a block."""
    port = free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "requirepass": PASSWORD,
        "save": "",
        "enable-debug-command": "yes",
        "loading-process-events-interval-bytes": "1024",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = await asyncio.create_subprocess_exec(
        "redis-server", *words, *more, stdout=asyncio.subprocess.DEVNULL
    )
    operator = Redis.from_url(
        f"redis://:{PASSWORD}@127.0.0.1:{port}/0", single_connection_client=True
    )
    try:
        async with asyncio.timeout(STARTING):
            while not await _answers(operator):
                assert process.returncode is None, f"redis-server ended: {process.returncode}"
                await asyncio.sleep(0.02)
        yield Refusing(port, operator)
    finally:
        await operator.aclose()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(operator: Redis) -> bool:
    try:
        return bool(await operator.ping())
    except (RedisError, OSError):
        return False

"""A whole installation whose processes are replaced by those of another release under load."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson

from infra.amqp.permissions import OPS_USER, definitions
from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.deploy.services import postgres
from infra.sandbox.app import DIALECTS
from infra.sandbox.server import Sandbox, open_sandbox
from infra.settings import Settings
from tests.chaos.history import History
from tests.chaos.invariants import Findings
from tests.chaos.load import Load
from tests.chaos.servers import Servers
from tests.chaos.world import CAUSED, World, prepare
from tests.infra.ledger import until
from tests.services import Services, as_user, environment, make_settings
from tests.upgrade.balancer import Balancer, open_balancer
from tests.upgrade.clients import Clients
from tests.upgrade.release import Release, ReleaseProcess

MODULES = {
    "web": "workers.ingress",
    "auth": "workers.auth",
    "campaigns": "workers.campaigns",
    "sync": "workers.sync",
    "metrics": "tests.upgrade.metrics_worker",
    "relay": "workers.relay",
}
CONSOLE = "workers.ops"
READY_SECONDS = 400.0
DRAIN_SECONDS = 180.0
# A busy machine is no reason for an answer of 5xx: what a fault does is seen in tests/chaos.
LIMITS = {
    "statement_timeout": 60.0,
    "broker_timeout": 60.0,
    "confirm_deadline": 30.0,
    "reply_deadline": 60.0,
    "redis_timeout": 10.0,
    "heartbeat": 60,
    "outbox_lease": 300.0,
    "sandbox_metrics_seconds": 0,
    "sandbox_status_seconds": 0,
}


class Installation:
    """Processes by their name, and everybody who uses them."""

    def __init__(
        self,
        settings: Settings,
        world: World,
        balancer: Balancer,
        clients: Clients,
        sandbox: Sandbox,
    ) -> None:
        self.settings = settings
        self.world = world
        self.balancer = balancer
        self.clients = clients
        self.running: dict[str, ReleaseProcess] = {}
        self.started: list[ReleaseProcess] = []
        self.sandbox = sandbox
        self.recorded: Counter[str] = Counter()  # ids that metrics_recorded events name

    async def start(self, release: Release) -> None:
        """Start all processes of a release."""
        await asyncio.gather(*(self.add(name, release) for name in MODULES))

    async def add(self, name: str, release: Release) -> ReleaseProcess | None:
        """Start a process of a release; gives the one that it is beside now."""
        process = await self.open(MODULES[name], release)
        if name == "web":
            self.balancer.add(process.url)
        before = self.running.get(name)
        self.running[name] = process
        return before

    async def open(self, module: str, release: Release) -> ReleaseProcess:
        """Start a process of a release; it is ready when this returns."""
        process = ReleaseProcess(release, module, self.settings)
        self.started.append(process)
        await process.start()
        await process.ready(READY_SECONDS)
        return process

    async def remove(self, name: str, process: ReleaseProcess) -> None:
        """End a process that another has replaced."""
        if name == "web":
            self.balancer.remove(process.url)
        await process.end()

    async def replace(self, names: Sequence[str], release: Release, seconds: float) -> None:
        """Replace process by process; the old one and the new one work together for a while."""
        for name in names:
            before = await self.add(name, release)
            await asyncio.sleep(seconds)
            if before is not None:
                await self.remove(name, before)

    async def migrate(self, release: Release) -> None:
        """Prepare the servers for a release, as its operator does; others work meanwhile."""
        content = definitions(self.world.vhost)
        await asyncio.to_thread(self.world.servers.services.operator.import_definitions, content)
        written = environment(as_user(OPS_USER, self.settings))
        await release.run("-m", "infra.commands", "migrate", environment=written)

    async def settle(self) -> Findings:
        """Wait until nothing is on its way, and look at the load's events."""
        await self.world.drained(DRAIN_SECONDS)
        await until(self._writes_are_done, DRAIN_SECONDS)
        async with self.world.broker() as broker, broker.channel() as channel:
            queue = await channel.get_queue(CAUSED)
            while (message := await queue.get(fail=False, no_ack=True, timeout=10)) is not None:
                self.recorded.update(orjson.loads(message.body)["data"]["events"])
        found = await self.world.findings(0, 0)
        load = Counter({id_: n for id_, n in self.recorded.items() if id_ in found.history.sent})
        return replace(found, caused=load)

    def count_answers(self) -> dict[str, dict[int, int]]:
        """Count the answers to all requests by release and status."""
        releases = {process.url: process.release.name for process in self.started}
        found: dict[str, dict[int, int]] = {}
        for (process, status), count in sorted(self.balancer.answers.items()):
            of_release = found.setdefault(releases[process], {})
            of_release[status] = of_release.get(status, 0) + count
        return found

    async def _writes_are_done(self) -> bool:
        done = await self.world.count("select count(*) from operations where state = 'done'")
        active = await self.world.count("select count(*) from campaigns where status = 'active'")
        promises = self.clients.promises
        return done >= promises.writes and active >= len(promises.campaigns)


@asynccontextmanager
async def open_servers(services: Services, previous: Release) -> AsyncIterator[Settings]:
    """Make a vhost and a database as the operator of the release before does."""
    name = f"test_{services.session}_upgrade"
    services.create_vhost(name, await previous.definitions(name))
    services.execute(f"create database {name} owner {postgres.ROLE}")
    try:
        yield make_settings(services, name).model_copy(update=LIMITS)
    finally:
        services.execute(f"drop database {name} with (force)")
        services.operator.delete_vhost(name)


@asynccontextmanager
async def open_installation(
    services: Services, previous: Release, folder: Path
) -> AsyncIterator[Installation]:
    """Start the release before; all is ready in the block."""
    async with AsyncExitStack() as held:
        settings = await held.enter_async_context(open_servers(services, previous))
        sandbox = await held.enter_async_context(
            open_sandbox(settings.model_copy(update={"port": 0}))
        )
        urls = {f"{platform}_url": f"{sandbox.url}/{platform}" for platform in DIALECTS}
        settings = settings.model_copy(update=urls)
        balancer = await held.enter_async_context(open_balancer())
        publisher = await held.enter_async_context(Publisher(settings, "load", BackgroundTasks()))
        http = await held.enter_async_context(
            aiohttp.ClientSession(balancer.url, timeout=aiohttp.ClientTimeout(total=180))
        )
        written = environment(as_user(OPS_USER, settings))
        await previous.run("-m", "infra.commands", "migrate", environment=written)
        key = await prepare(settings)
        load = Load(History(folder / "history.jsonl"), publisher, http, key)
        world = World(settings, Servers(services), {}, load)
        secret = settings.claude_webhook_secret.get_secret_value()
        installation = Installation(settings, world, balancer, Clients(http, secret), sandbox)
        try:
            await installation.start(previous)
            await _register(installation)
            yield installation
        finally:
            for process in installation.started:
                if process.process.returncode is None:
                    await process.kill()
                (folder / f"{process.module}-{process.port}.log").write_text(process.output)
                process.forget()
            await world.engine.dispose()


async def _register(installation: Installation) -> None:
    """Let the clients begin; the platform reports about a campaign that it has."""
    world = installation.world
    identity = await installation.clients.register()
    platform_id = f"select platform_campaign_id from campaigns where id = '{identity}'"  # noqa: S608 - our id

    async def is_active() -> bool:
        rows = await world.rows(f"{platform_id} and status = 'active'")
        installation.clients.platform_id = rows[0][0] if rows else ""
        return bool(rows)

    await until(is_active, READY_SECONDS)

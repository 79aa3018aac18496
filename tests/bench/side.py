"""One version's side of ``make bench AGAINST=commit``: measures its own programs on request.

It runs in the checkout of its version, on servers that the newer one's bench has started, in
a vhost and a database that this version declares and migrates itself. Each line of JSON that
comes in asks for one measurement, a line goes out with its figures:

    {"section": "consume", "amount": 20000}  ->  {"events/s": 8123.4, "CPU us/event": 61.2}

An older version has a module of this name too, or is lent this one: the lines must keep their
meaning, and nothing here may need what ``tests.bench`` did not have before.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import aiohttp
import uvloop

from events.envelope import encode
from infra import logs
from infra.deploy.services import postgres
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.ports import kept_ports
from infra.security.hmac_signature import sign_body
from infra.settings import Settings
from tests.bench import consume, ingress
from tests.bench.events import report, webhook
from tests.bench.stage import PLACE, Stage, check, cpu_of, measured, open_stage, program
from tests.processes import free_port
from tests.services import Services, make_template, open_settings

REDIS_DATABASES = {"old": 1, "new": 2}
Figures = dict[str, float]


async def consume_upsert(stage: Stage, amount: int) -> Figures:
    """Consume ``amount`` events with the handler that the peers have too."""
    return await _consume(stage, "upsert", amount)


async def consume_record(stage: Stage, amount: int) -> Figures:
    """Consume ``amount`` events with the metrics worker's own handler, which fills the outbox."""
    return await _consume(stage, "record", amount)


async def _consume(stage: Stage, handler: str, amount: int) -> Figures:
    found = await consume.measure(stage, consume.ours("adrelay", amount, handler))
    figures = {result.section: result.value for result in found}
    return {"events/s": figures["consume"], "CPU us/event": figures["cpu"]}


async def webhooks(stage: Stage, amount: int) -> Figures:
    """Post one signed webhook again and again for ``amount`` seconds."""
    body = webhook(1)
    headers = {"X-Claude-Signature": sign_body(ingress.secret_of(stage), body)}
    headers["Content-Type"] = "application/json"
    return await _post(stage, "/webhooks/claude", body, headers, amount)


async def events(stage: Stage, amount: int) -> Figures:
    """Post one event with an API key again and again for ``amount`` seconds."""
    key, _ = await ingress._api_key(stage)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"}
    return await _post(stage, "/api/v1/events", encode(report(0)), headers, amount)


SECTIONS: Mapping[str, Callable[[Stage, int], Awaitable[Figures]]] = {
    "consume": consume_upsert,
    "consume-outbox": consume_record,
    "webhooks": webhooks,
    "events": events,
}


async def _post(
    stage: Stage, path: str, body: bytes, headers: dict[str, str], seconds: int
) -> Figures:
    await stage.clear()
    port, script = free_port(), PLACE.state / "post.lua"
    url = f"http://127.0.0.1:{port}{path}"
    ingress._write_script(script, body, headers)
    async with program(stage.settings, ingress.INGRESS, PORT=str(port)) as process:
        await _until_ready(process, f"http://127.0.0.1:{port}/readyz")
        await ingress._wrk(url, script, ingress.WARM_UP)
        before = measured(process.pid, cpu_of)
        said = await ingress._wrk(url, script, seconds)
        used = measured(process.pid, cpu_of) - before
    if wrong := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise RuntimeError(f"{path}: {wrong[0]}")
    done = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if done is None or rate is None:
        raise RuntimeError(f"wrk said nothing of its requests: {said}")
    return {"requests/s": float(rate[1]), "CPU us/request": used / int(done[1]) * 1e6}


async def _until_ready(process: asyncio.subprocess.Process, url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.ok:
                        return
            check(process)
            await asyncio.sleep(0.05)


@contextmanager
def open_side(name: str, directory: ServerDirectory) -> Iterator[Settings]:
    """Make this version's vhost and database on the servers of ``directory``."""
    ports = kept_ports(directory)
    if ports is None:
        raise RuntimeError(f"no servers in {directory.state}")
    services = Services(directory, ports, f"bench_{name}", REDIS_DATABASES[name])
    services.execute(f"drop database if exists test_bench_{name}_bench with (force)")
    make_template(services)
    with open_settings(services, "bench") as settings:
        services.execute(f"grant pg_checkpoint to {postgres.ROLE}")
        yield settings


async def answer(settings: Settings, told: int) -> None:
    """Measure what each line asks for, until the lines end."""
    async with open_stage(settings) as stage:
        os.write(told, b'{"ready": 1}\n')
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            figures = await SECTIONS[asked["section"]](stage, asked["amount"])
            os.write(told, json.dumps(figures).encode() + b"\n")


def main() -> int:
    """Answer on standard output; what else is printed goes to standard error."""
    told = os.dup(1)
    os.dup2(2, 1)
    logs.configure_logging("WARNING")
    PLACE.prepare()
    name, directory = sys.argv[1], ServerDirectory(Path(sys.argv[2]))
    with suppress(KeyboardInterrupt), ExitStack() as held:
        settings = held.enter_context(open_side(name, directory))
        runner = held.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(answer(settings, told))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The ingress: a signed webhook is published, confirmed and routed, before it is answered.

wrk keeps 64 connections busy with one process. All publish to the same exchange, so the
broker does the same for all: the event log, and the metrics queue.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from events.envelope import encode
from infra.amqp import topology
from infra.security.access_tokens import TokenSigner
from infra.security.hmac_signature import sign_body
from infra.storage.api_keys import generate_api_key, insert_api_key
from infra.storage.engine import open_engine
from infra.storage.users import UserRow, insert_users
from schemas.users import User
from tests.bench.events import KEY, SOURCE, report, webhook
from tests.bench.results import Result
from tests.bench.stage import PLACE, Stage, server, variables
from tests.bench.tools import node_folder

CONNECTIONS = 64
SECONDS = 5
WARM_UP = 1
PATIENCE = 10  # seconds for an answer
BATCH = 100
INGRESS = ("python", "-m", "workers.ingress")
CALLERS = ("python", "-m", "tests.bench.callers")
PEERS = {
    "express": ("node", str(node_folder() / "ingress.js")),
    "aiohttp": ("python", "-m", "tests.bench.peers.with_aiohttp"),
}
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}

Measure = Callable[[Stage], Awaitable[list[Result]]]


def secret_of(stage: Stage) -> str:
    """Give the secret of Claude's webhooks."""
    return stage.settings.platform("claude").webhook_secrets[0]


def peer_variables(stage: Stage, exchange: str, key: str) -> dict[str, str]:
    """Tell a peer's ingress what to check and where to publish."""
    return dict(variables(secret=secret_of(stage), exchange=exchange, key=key))


async def adrelay(stage: Stage) -> list[Result]:
    """Measure single webhooks with the real ingress process."""
    await stage.clear()
    async with server(stage.settings, INGRESS) as port:
        return await _webhooks(stage, "adrelay", port)


async def express(stage: Stage) -> list[Result]:
    """Measure Express and amqplib with confirms."""
    return await _peer(stage, "express")


async def aiohttp(stage: Stage) -> list[Result]:
    """Measure plain aiohttp and aio-pika."""
    return await _peer(stage, "aiohttp")


async def batches(stage: Stage) -> list[Result]:
    """Measure events in batches of a hundred beside single events, both with an API key."""
    await stage.clear()
    key, _ = await _api_key(stage)
    headers = {"Authorization": f"Bearer {key}"}
    events = [json.loads(encode(report(number))) for number in range(BATCH)]
    results = []
    async with server(stage.settings, INGRESS) as port:
        url = f"http://127.0.0.1:{port}/api/v1/events"
        for name, body, kind, times in (
            ("single", events[0], "cloudevents", 1),
            ("adrelay", events, "cloudevents-batch", BATCH),
        ):
            own = {**headers, "Content-Type": f"application/{kind}+json"}
            rate, p50, p99 = await wrk(url, json.dumps(body).encode(), own)
            results += [
                Result("batch", name, "events/s", rate * times),
                Result("batch_p50", name, "ms", p50),
                Result("batch_p99", name, "ms", p99),
            ]
    return results


async def callers(stage: Stage) -> list[Result]:
    """Measure requests whose caller is found out, by a token or a key, beside open ones."""
    await stage.clear()
    key, account = await _api_key(stage)
    token = TokenSigner(stage.settings).sign(account, "bench")
    results = []
    async with server(stage.settings, CALLERS) as port:
        for name, credential in (("open", ""), ("token", token), ("key", key)):
            headers = {"Authorization": f"Bearer {credential}"} if credential else {}
            rate, p50, _ = await wrk(f"http://127.0.0.1:{port}/{name}", None, headers)
            results += [
                Result("verified", name, "requests/s", rate),
                Result("verified_p50", name, "ms", p50),
            ]
    return results


MEASURES: tuple[Measure, ...] = (adrelay, express, aiohttp, batches, callers)


async def _peer(stage: Stage, name: str) -> list[Result]:
    await stage.clear()
    own = peer_variables(stage, topology.EVENTS_EXCHANGE, KEY)
    async with server(stage.settings, PEERS[name], **own) as port:
        return await _webhooks(stage, name, port)


async def _webhooks(stage: Stage, name: str, port: int) -> list[Result]:
    body = webhook(1)
    headers = {
        "Content-Type": "application/json",
        "X-Claude-Signature": sign_body(secret_of(stage), body),
    }
    rate, p50, p99 = await wrk(f"http://127.0.0.1:{port}/webhooks/claude", body, headers)
    return [
        Result("ingress", name, "requests/s", rate),
        Result("ingress_p50", name, "ms", p50),
        Result("ingress_p99", name, "ms", p99),
    ]


async def wrk(url: str, body: bytes | None, headers: dict[str, str]) -> tuple[float, float, float]:
    """Post one body, or get, again and again; gives requests a second, p50 and p99 in ms."""
    script = PLACE.state / "post.lua"
    _write_script(script, body, headers)
    await _wrk(url, script, WARM_UP)
    said = await _wrk(url, script, SECONDS)
    wrong = re.search(r"Non-2xx.*|Socket errors.*", said)
    if wrong:
        raise RuntimeError(f"{url}: {wrong[0]}")
    return _number(said, r"Requests/sec:\s+([\d.]+)()"), _number(said, "50%"), _number(said, "99%")


def _write_script(script: Path, body: bytes | None, headers: dict[str, str]) -> None:
    posting = ['wrk.method = "POST"', f"wrk.body = {json.dumps((body or b'').decode())}"]
    lines = [] if body is None else posting
    lines += [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()]
    script.write_text("\n".join(lines) + "\n")


async def _wrk(url: str, script: Path, seconds: int) -> str:
    limits = ("-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", f"{PATIENCE}s")
    words = ("-t", "1", *limits, "--latency", "-s", str(script))
    running = await asyncio.create_subprocess_exec(
        "wrk", *words, url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await running.communicate()
    return said.decode()


def _number(said: str, what: str) -> float:
    pattern = what if "(" in what else rf"^\s+{what}\s+([\d.]+)(us|ms|s)"
    found = re.search(pattern, said, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk did not say {what}: {said}")
    return float(found[1]) * (UNITS[found[2]] if found[2] else 1)


async def _api_key(stage: Stage) -> tuple[str, User]:
    key, user = (
        generate_api_key(),
        User(id=uuid4(), email=f"{uuid4().hex}@example.com", role="manager"),
    )
    engine = open_engine(stage.settings)
    async with engine.begin() as tx:
        await insert_users(tx, [UserRow(user, "no password")])
        await insert_api_key(
            tx,
            key,
            name="bench",
            owner_id=user.id,
            scopes=("events:publish:*", "campaigns:read"),
            sources=(SOURCE,),
        )
    await engine.dispose()
    return key.key, user

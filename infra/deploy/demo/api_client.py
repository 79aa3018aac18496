"""Calls the API, sends signed webhooks and handles dead letters, as an outside party does.

Everything that is not as it should be raises ``DemoFailed``, which ends the demonstration.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from infra.deploy.services.directories import CHECKOUT
from infra.security import standard_webhooks
from infra.security.hmac_signature import sign_body

T = TypeVar("T")

WAIT_TIMEOUT = 30.0  # seconds
POLL_INTERVAL = 0.1  # seconds
MAX_POLLS = 200  # at most, so that waiting does not meet a rate limit
REQUEST_TIMEOUT = 15.0  # seconds
UNAVAILABLE = 503
SCHEMES = {"chatgpt": standard_webhooks.V1, "gemini": standard_webhooks.V1A}


class DemoFailed(Exception):
    """The system did something else than the story says."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An answer of the API. ``body`` is its JSON, empty without one."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> Any:  # noqa: ANN401 - JSON
        """What the envelope carries."""
        return self.body.get("data")


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A client of the API at ``env["ADRELAY_URL"]``."""

    env: Mapping[str, str]
    session: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        *,
        expect: int,
        token: str = "",
        json_body: object = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ApiResponse:
        """Call the API; raises ``DemoFailed`` for another status than ``expect``.

        A call that got no answer, or 503, is repeated as a client should: all that
        this party sends carries an id of its own, so that it counts once.
        """
        sent = {"authorization": f"Bearer {token}"} if token else {}
        if json_body is not None:
            raw = json.dumps(json_body).encode()
            sent["content-type"] = "application/json"
        sent |= headers or {}
        end = time.monotonic() + WAIT_TIMEOUT
        while True:
            try:
                answer, text = await self._once(method, path, raw, sent)
            except (aiohttp.ClientConnectionError, TimeoutError):
                if time.monotonic() > end:
                    raise
            else:
                if answer.status == expect:
                    return answer
                if answer.status != UNAVAILABLE or time.monotonic() > end:
                    wrong = f"{method} {path} answered {answer.status} instead of {expect}"
                    raise DemoFailed(f"{wrong}: {text[:600]}")
            await asyncio.sleep(POLL_INTERVAL)

    async def _once(
        self, method: str, path: str, raw: bytes | None, headers: Mapping[str, str]
    ) -> tuple[ApiResponse, str]:
        url = self.env["ADRELAY_URL"] + path
        async with self.session.request(method, url, data=raw, headers=headers) as answer:
            text = await answer.text()
            body = json.loads(text) if text and "json" in answer.content_type else {}
            return ApiResponse(answer.status, dict(answer.headers), body), text

    async def webhook(
        self, source: str, body: object, delivery: str, *, expect: int = 200, secret: str = ""
    ) -> ApiResponse:
        """Send a webhook as the platform ``source`` signs it, or with another ``secret``."""
        raw = json.dumps(body).encode()
        secret = secret or self.env[f"{source.upper()}_WEBHOOK_SECRET"].split()[0]
        scheme = SCHEMES.get(source)
        if scheme is None:
            headers = {"x-claude-signature": sign_body(secret, raw)}
        else:
            headers = standard_webhooks.sign(scheme, [secret], delivery, int(time.time()), raw)
        headers["content-type"] = "application/json"
        path = f"/webhooks/{source}"
        return await self.call("POST", path, expect=expect, raw=raw, headers=headers)

    async def dead_letters(self, *words: str) -> list[dict[str, Any]]:
        """Run ``adrelay dead-letters`` as an operator does; returns its JSON lines."""
        return await run_command(["dead-letters", *words, "--json"])


async def run_command(words: Sequence[str]) -> list[dict[str, Any]]:
    """Run a command of ``adrelay``; returns the JSON lines that it prints.

    Raises ``DemoFailed`` when it fails.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.commands",
        *words,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), REQUEST_TIMEOUT * 2)
    if process.returncode:
        command = f"adrelay {' '.join(words)}"
        raise DemoFailed(f"'{command}' failed: {err.decode().strip()[-600:]}")
    return [json.loads(line) for line in out.decode().splitlines() if line.strip()]


async def wait_until(
    what: str, look: Callable[[], Awaitable[T | None]], patience: float = WAIT_TIMEOUT
) -> T:
    """Look again and again until something is seen.

    Raises ``DemoFailed`` with ``what`` when it is not seen within ``patience`` seconds.
    """
    end, pause = time.monotonic() + patience, max(POLL_INTERVAL, patience / MAX_POLLS)
    while True:
        seen = await look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > end:
            raise DemoFailed(f"{what}: not within {patience:.0f} s")
        await asyncio.sleep(pause)

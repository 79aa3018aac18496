"""``make demo`` against the whole system: the story that must run."""

import asyncio
import sys

import pytest

from infra.amqp.permissions import OPS_USER, UPSTREAM_USER
from infra.deploy.services.directories import CHECKOUT
from infra.settings import Settings
from tests.e2e.system import running_system
from tests.services import environment, url_as


async def run(settings: Settings, *words: str, **more: str) -> tuple[int | None, str]:
    """Run a module of this checkout; tells its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *words,
        cwd=CHECKOUT,
        env={**environment(settings), **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


def urls(settings: Settings) -> dict[str, str]:
    """Give the broker's URLs of those who look on and of the upstream system."""
    users = {"OPS_RABBITMQ_URL": OPS_USER, "UPSTREAM_RABBITMQ_URL": UPSTREAM_USER}
    return {name: url_as(user, settings.rabbitmq_url) for name, user in users.items()}


@pytest.mark.timeout(180)
async def test_every_step_of_the_story_runs_and_its_traffic_counts_once(
    settings: Settings,
) -> None:
    code, output = await run(settings, "infra.commands", "seed", **urls(settings))
    assert code == 0, output

    async with running_system(settings) as system:
        words = ("infra.deploy.demo", "--repeat", "5")
        process_urls = f"ops=http://127.0.0.1:{system.processes['ops'].port}"
        own = {"ADRELAY_URL": system.url, "PROCESS_URLS": process_urls, **urls(settings)}
        code, output = await run(settings, *words, **own)

    assert code == 0, output
    assert [line[:2] for line in output.splitlines() if line[1:2] == "."] == [
        f"{step}." for step in range(1, 8)
    ]
    assert "45 events were accepted" in output
    assert f"See it in the console, http://127.0.0.1:{system.processes['ops'].port}" in output


async def test_the_story_ends_with_a_reason_where_nothing_answers(settings: Settings) -> None:
    nowhere = dict.fromkeys(urls(settings), "amqp://guest:guest@127.0.0.1:1/")

    code, output = await run(settings, "infra.deploy.demo", ADRELAY_URL="http://[::1]:1", **nowhere)

    assert code == 1
    assert "nothing runs here: start it with 'make run'" in output

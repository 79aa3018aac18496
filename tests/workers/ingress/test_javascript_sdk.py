"""The CloudEvents SDK for JavaScript as a client of the ingress, on Node.js."""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from infra.deploy.services.directories import CHECKOUT
from tests.npm import find_node, install
from tests.workers.ingress.api.test_cloudevents import TYPE, WRITTEN
from tests.workers.ingress.api.test_events import BATCH, PATH, report
from tests.workers.ingress.conftest import SOURCE, Spy

SOURCES = Path(__file__).with_name("javascript")
FILES = ("package.json", "package-lock.json", "post.js")
FOLDER = CHECKOUT / ".services" / "test" / "javascript"
PATIENCE = 120.0  # seconds
TIME = "2026-11-21T08:00:00.500Z"


@pytest.fixture(scope="session")
def node() -> str:
    """Give the program Node.js; the SDK is in ``FOLDER``."""
    node, npm = find_node()
    install(npm, SOURCES, FILES, FOLDER)
    return node


async def run(node: str, client: aiohttp.ClientSession, api_key: str) -> Any:
    """Let the SDK post its events; gives the status and body of each answer."""
    attributes = {
        "source": SOURCE,
        "type": TYPE,
        "time": TIME,
        "datacontenttype": "application/json",
        "subject": "a subject",
        "comext": "an extension",
        "data": report()["data"],
    }
    variables = {
        "API_KEY": api_key,
        "ATTRIBUTES": orjson.dumps(attributes).decode(),
        "BATCH_TYPE": BATCH,
        "SINK": str(client._build_url(PATH)),
    }
    process = await asyncio.create_subprocess_exec(
        node,
        "post.js",
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, errors.decode()
    return orjson.loads(output)


async def test_the_javascript_sdk_is_understood(
    node: str, client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    answers = await run(node, client, api_key)
    statuses = {name: answer["status"] for name, answer in answers.items()}
    taken = dict.fromkeys(("binary", "structured", "packed", "batch"), 202)
    assert statuses == {**taken, "wrong": 400}, answers
    assert [line["field"] for line in answers["wrong"]["body"]["error"]["details"]]
    events = await spy.events(5)
    assert [event["id"] for event in events] == [
        'js "binary" 100%',
        'js "structured" 100%',
        "js packed",
        "js batch \u20ac",
        "js batch 2",
    ]
    for event in events:
        assert event["data"] == WRITTEN
        assert event["time"] == "2026-11-21T08:00:00.500000Z"
        assert (event["subject"], event["comext"]) == ("a subject", "an extension")
    assert spy.is_empty()

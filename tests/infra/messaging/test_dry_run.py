"""The dry run takes Adrelay's own broker users from the settings of the installation."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging.dry_run import run_dry
from infra.messaging.headers import USER
from infra.messaging.replay import read_content
from infra.settings import Settings
from infra.storage.dead_letters import find_dead_letters
from infra.storage.publisher_registry import PublisherRegistry
from tests.workers.ops.letters import KIND, figures, put_letter


def named(settings: Settings, workers: str | None) -> Settings:
    """Name the users as an installation of its own does; the process is the console."""
    url = type(settings.rabbitmq_url)("amqp://panel:p@127.0.0.1:1/v")
    users = {"rabbitmq_url": url, "ingress_user": "web panel", "workers_user": workers}
    return settings.model_copy(update=users)


@pytest.mark.parametrize(
    ("workers", "user", "passes"),
    [
        ("backend other", "backend", True),
        ("backend other", "web", True),
        ("backend other", "adrelay-workers", False),
        ("backend other", "crm", False),
        (None, "panel", True),
        (None, "backend", False),
    ],
)
async def test_a_letter_of_our_own_users_is_allowed_whatever_they_are_called(
    settings: Settings, engine: AsyncEngine, workers: str | None, user: str, *, passes: bool
) -> None:
    properties = {
        "content_type": "application/cloudevents+json",
        "type": KIND,
        "correlation_id": "",
        "headers": {USER: user},
    }
    letter = await put_letter(engine, figures("e-1"), properties=properties)
    async with engine.connect() as tx:
        (head,) = await find_dead_letters(tx, letter, letter)
        content = await read_content(tx, head)
        registry = PublisherRegistry(engine)
        tried = await run_dry(tx, head, content, named(settings, workers), registry)
    assert tried.checks[1].outcome == "passed"
    assert tried.checks[2].outcome == ("passed" if passes else "failed")
    assert ("is no registered publisher" in tried.failure) is not passes

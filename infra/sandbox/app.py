"""Everything the sandbox holds, built in one place."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, web

from infra.http.client import open_session
from infra.sandbox import chatgpt, claude, gemini, persistence
from infra.sandbox.consent_page import Front
from infra.sandbox.dialect import Tongue
from infra.sandbox.platform_api import Player
from infra.sandbox.simulation import Life, Pace
from infra.sandbox.state import Book
from infra.sandbox.webhook_sender import Post
from infra.settings import Settings

log = logging.getLogger(__name__)

WEBHOOK_SECONDS = 15.0

TONGUES: Mapping[str, Tongue] = {"claude": claude, "chatgpt": chatgpt, "gemini": gemini}


@dataclass(frozen=True, slots=True)
class Stage:
    """One platform: what it plays, what owners see of it, what it sends, what happens of itself."""

    player: Player
    front: Front
    post: Post
    life: Life


@dataclass(frozen=True, slots=True)
class World:
    """All platforms and their pace."""

    stages: Mapping[str, Stage]
    pace: Pace

    @property
    def books(self) -> Mapping[str, Book]:
        """What each platform knows."""
        return {name: stage.player.book for name, stage in self.stages.items()}


WORLD: web.AppKey[World] = web.AppKey("world", World)


@asynccontextmanager
async def open_world(settings: Settings) -> AsyncIterator[World]:
    """Set the stage; what was kept over a restart is read now and written at the end."""
    pace = Pace(settings.sandbox_metrics_seconds, settings.sandbox_status_seconds)
    path = Path(settings.sandbox_state) if settings.sandbox_state else None
    async with open_session(WEBHOOK_SECONDS) as session:
        stages = {name: _stage(settings, name, pace, session) for name in TONGUES}
        world = World(stages, pace)
        if path is not None:
            persistence.load(path, world.books)
        try:
            yield world
        finally:
            if path is not None:
                persistence.save(path, world.books)


async def live(settings: Settings, world: World) -> None:
    """Let things happen for ever; if one of them ends by an error, all end with it."""
    async with asyncio.TaskGroup() as group:
        for stage in world.stages.values():
            group.create_task(stage.post.run())
            group.create_task(stage.life.grow())
            group.create_task(stage.life.change())
        if settings.sandbox_state:
            group.create_task(persistence.keep(Path(settings.sandbox_state), world.books))


def _stage(settings: Settings, name: str, pace: Pace, session: ClientSession) -> Stage:
    own = settings.platform(name)
    tongue = TONGUES[name]
    secret = f"{name}:{own.client_secret.get_secret_value()}".encode()
    book = Book(tongue.ID_PREFIX, hashlib.sha256(secret).digest())
    player = Player(name, tongue, (own.client_id, own.client_secret), book)
    front = Front(player, f"{settings.public_url.rstrip('/')}/api/v1/platforms/{name}/callback")
    post = Post(name, tongue, own.webhook_secrets, settings.adrelay_url, session)
    if not post.can_sign():
        log.warning("Without a secret to sign with no webhooks are sent", extra={"platform": name})
    return Stage(player, front, post, Life(player, post, pace))

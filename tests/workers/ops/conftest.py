"""The console on a real port, the auth worker that it asks, and admins who log in."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.permissions import CONSOLE_USER
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.users import UserRow, insert_users
from schemas.users import Role, User
from tests.server_thread import ServerThread
from tests.services import as_user
from tests.workers.ingress.conftest import PATIENCE, working
from workers import auth
from workers.ops.app import open_console

PASSWORD = "correct horse battery staple"
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')

MakeAccount = Callable[[Role], Awaitable[User]]


class Visit:
    """A browser without scripts: it keeps cookies and sends the forms of pages."""

    def __init__(self, client: aiohttp.ClientSession, address: str) -> None:
        self.client = client
        self.address = address

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Open a page; gives the status and the text, after redirects."""
        async with self.client.get(path, headers=headers) as response:
            return response.status, await response.text()

    async def log_in(
        self, email: str, password: str = PASSWORD, next_path: str = "/", **fields: str
    ) -> tuple[int, str]:
        """Send the form of the login page."""
        own = {"csrf": await self.login_token()} if "csrf" not in fields else {}
        form = {"email": email, "password": password, "next": next_path, **own, **fields}
        async with self.client.post("/login", data=form) as response:
            return response.status, await response.text()

    async def login_token(self) -> str:
        """Read the token of the login form; empty for who is logged in."""
        found = TOKEN.search((await self.get("/login"))[1])
        return found[1] if found else ""

    async def token(self, path: str = "/") -> str:
        """Read the token of the forms of a page."""
        found = TOKEN.search((await self.get(path))[1])
        assert found, "no form with a token"
        return found[1]

    async def send(self, path: str, token: str | None = None, **fields: str) -> tuple[int, str]:
        """Send a form with the page's token, or another; gives what the browser then sees."""
        form = {"csrf": await self.token() if token is None else token, **fields}
        async with self.client.post(path, data=form) as response:
            return response.status, await response.text()


@asynccontextmanager
async def serving_console(settings: Settings) -> AsyncIterator[str]:
    """Serve the console in this loop; yields its address."""
    own = as_user(CONSOLE_USER, settings).model_copy(update={"port": 0})
    async with open_console(own, asyncio.Event()) as (port, _):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def visiting(address: str) -> AsyncIterator[Visit]:
    """Make a browser with cookies of its own."""
    async with aiohttp.ClientSession(
        address,
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
    ) as client:
        yield Visit(client, address)


@asynccontextmanager
async def visiting_console(settings: Settings) -> AsyncIterator[tuple[Visit, asyncio.Event]]:
    """Serve the console and make a browser; the event lets the console drain."""
    own, stop = as_user(CONSOLE_USER, settings).model_copy(update={"port": 0}), asyncio.Event()
    async with open_console(own, stop) as (port, _), visiting(f"http://127.0.0.1:{port}") as visit:
        yield visit, stop


@pytest.fixture(scope="module")
def auth_worker(settings: Settings, servers: ServerThread) -> None:
    servers.enter(working(settings, *auth.SUBSCRIPTIONS))


@pytest.fixture(scope="module")
def module_address(settings: Settings, servers: ServerThread, auth_worker: None) -> str:  # noqa: ARG001 - it answers
    return servers.enter(serving_console(settings))


@pytest.fixture
def address(module_address: str) -> str:
    """The console's address; a module whose tests need a console each has a fixture of its own."""
    return module_address


@pytest.fixture
async def visit(address: str) -> AsyncIterator[Visit]:
    async with visiting(address) as visit:
        yield visit


@pytest.fixture
async def make_account(engine: AsyncEngine, resources: Resources) -> MakeAccount:
    async def make(role: Role) -> User:
        user = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role=role)
        hashed = await resources.passwords.hash(PASSWORD)
        async with engine.begin() as tx:
            await insert_users(tx, [UserRow(user, hashed)])
        return user

    return make


@pytest.fixture
async def admin(make_account: MakeAccount) -> User:
    return await make_account("admin")


@pytest.fixture
async def inside(visit: Visit, admin: User) -> Visit:
    """An admin who is logged in."""
    status, text = await visit.log_in(admin.email)
    assert status == 200, text
    return visit

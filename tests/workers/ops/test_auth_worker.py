"""The console beside an auth worker of its own, and beside none."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from schemas.users import User
from tests.infra.ledger import until
from tests.workers.ingress.conftest import working
from tests.workers.ops.conftest import serving_console, visiting
from workers import auth


async def test_an_expired_access_token_is_exchanged_and_the_session_goes_on(
    settings: Settings, admin: User, engine: AsyncEngine
) -> None:
    brief = settings.model_copy(update={"access_token_seconds": 1})

    async def is_refreshed() -> bool:
        assert (await visit.get("/queues"))[0] == 200
        async with engine.connect() as tx:
            count = (await tx.execute(text("select rotation_count from sessions"))).scalar_one()
        return bool(count)

    async with (
        working(brief, *auth.SUBSCRIPTIONS),
        serving_console(brief) as address,
        visiting(address) as visit,
    ):
        await visit.log_in(admin.email)
        await until(is_refreshed)
        assert (await visit.get("/queues"))[0] == 200


async def test_without_the_auth_worker_the_page_says_so(settings: Settings, admin: User) -> None:
    hasty = settings.model_copy(update={"reply_deadline": 0.3})
    async with serving_console(hasty) as address, visiting(address) as visit:
        status, page = await visit.log_in(admin.email)
    assert status == 503
    assert "The auth service does not answer right now." in page

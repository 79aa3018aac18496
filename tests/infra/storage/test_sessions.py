"""Sessions as rows: what is live, what has ended, what may go on."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.security.refresh_token_rotation import IssuedToken, Session
from infra.settings import Settings
from infra.storage.expired_rows import SESSIONS, delete_expired_rows
from infra.storage.sessions import (
    SessionState,
    end_session,
    end_sessions_of,
    expiry_cutoff,
    find_session_state,
    insert_session,
    is_live,
    list_sessions,
    record_refresh,
)
from infra.storage.users import UserRow, insert_users
from schemas.users import ClientInfo, User

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
WEEK, SECOND = timedelta(days=7), timedelta(seconds=1)
SINCE = NOW - WEEK
LAPTOP = ClientInfo(address="203.0.113.9", device="a laptop")
ADA = User(id=uuid4(), email="ada@example.com", role="manager")


async def add(tx: AsyncConnection, user: User = ADA, at: datetime = NOW) -> Session:
    await insert_users(tx, [UserRow(user, "h1")])
    session = Session(uuid4().hex, user.id)
    assert await insert_session(tx, session, "h1", LAPTOP, at)
    return session


def use(session: Session, rotation_count: int = 1) -> IssuedToken:
    return IssuedToken(session, "a token", rotation_count)


async def test_a_session_is_listed_with_its_times_address_and_device(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        session = await add(tx)
        (row,) = await list_sessions(tx, ADA.id, SINCE)
    assert (row.id, row.address, row.device) == (session.id, "203.0.113.9", "a laptop")
    assert (row.started_at, row.last_used_at, row.rotation_count) == (NOW, NOW, 0)


async def test_a_session_needs_the_present_password_hash(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await add(tx)
        refused = Session(uuid4().hex, ADA.id)
        assert not await insert_session(tx, refused, "another hash", LAPTOP, NOW)
        nobodys = Session(uuid4().hex, uuid4())
        assert not await insert_session(tx, nobodys, "h1", LAPTOP, NOW)
        assert len(await list_sessions(tx, ADA.id, SINCE)) == 1


async def test_the_last_used_comes_first_and_ended_sessions_are_left_out(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as tx:
        old, new, ended, _, _ = [
            await add(tx, at=at) for at in (NOW - SECOND, NOW, NOW, SINCE, SINCE - WEEK)
        ]
        await add(tx, User(id=uuid4(), email="eve@example.com", role="viewer"))
        await end_session(tx, ended.id, "logout", since=SINCE, at=NOW)
        assert [row.id for row in await list_sessions(tx, ADA.id, SINCE)] == [new.id, old.id]


async def test_the_time_of_use_only_increases(engine: AsyncEngine) -> None:
    phone = ClientInfo(address="198.51.100.1", device="a phone")
    async with engine.begin() as tx:
        session = await add(tx)
        assert await record_refresh(tx, use(session, 3), phone, NOW + SECOND)
        assert await record_refresh(tx, use(session, 2), phone, NOW)
        state = await find_session_state(tx, session.id)
        (row,) = await list_sessions(tx, ADA.id, SINCE)
    assert state == SessionState(ADA, 3, NOW + SECOND, ended=False)
    assert (row.address, row.device) == ("198.51.100.1", "a phone")


async def test_a_session_ends_once_and_cannot_be_used_after_that(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        session = await add(tx)
        assert await end_session(tx, session.id, "logout", since=SINCE, at=NOW) == [session]
        assert await end_session(tx, session.id, "reuse", since=SINCE, at=NOW) == []
        assert not await record_refresh(tx, use(session), LAPTOP, NOW)
        assert not await is_live(tx, session.id, ADA.id, SINCE)
        state = await find_session_state(tx, session.id)
    assert state is not None
    assert state.ended


async def test_only_its_owner_ends_a_session(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        session = await add(tx)
        by = {"since": SINCE, "at": NOW}
        assert await end_session(tx, session.id, "revoked_by_user", user_id=uuid4(), **by) == []
        assert await is_live(tx, session.id, ADA.id, SINCE)
        assert not await is_live(tx, session.id, uuid4(), SINCE)
        assert not await is_live(tx, None, ADA.id, SINCE)
        assert await end_session(tx, session.id, "revoked_by_user", user_id=ADA.id, **by) == [
            session
        ]


async def test_all_sessions_of_a_user_end_or_all_but_one(engine: AsyncEngine) -> None:
    eve = User(id=uuid4(), email="eve@example.com", role="viewer")
    async with engine.begin() as tx:
        own, other, third = [await add(tx) for _ in range(3)]
        foreign = await add(tx, eve)
        ended = await end_sessions_of(
            tx, ADA.id, "password_changed", since=SINCE, at=NOW, but=own.id
        )
        assert {session.id for session in ended} == {other.id, third.id}
        rest = await end_sessions_of(tx, ADA.id, "account_closed", since=SINCE, at=NOW)
        assert rest == [own]
        assert await is_live(tx, foreign.id, eve.id, SINCE)


async def test_deleting_a_user_deletes_the_sessions(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        session = await add(tx)
        await tx.exec_driver_sql("delete from users")
        assert await find_session_state(tx, session.id) is None


async def test_old_sessions_are_deleted_a_few_at_a_time(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        for at in (NOW - WEEK, NOW - WEEK, NOW - WEEK, NOW):
            await add(tx, at=at)
        gone = [await delete_expired_rows(tx, SESSIONS, NOW, limit=2) for _ in range(3)]
        assert gone == [2, 1, 0]
        assert len(await list_sessions(tx, ADA.id, SINCE - WEEK)) == 1


SETTINGS = Settings(refresh_grace_seconds=10, refresh_token_seconds=7 * 86400)
LATER = NOW + timedelta(minutes=1)
CASES = [
    # rotations and end in Postgres; rotations and repetition in Redis; time; allowed?
    (0, False, 1, False, LATER, True),
    (5, False, 6, False, LATER, True),
    (5, False, 7, False, LATER, True),  # our last commit was lost
    (5, False, 5, True, LATER, True),  # the same token twice, within Redis' own grace
    (5, False, 5, False, NOW + SECOND, True),  # the same, and we have heard of the second first
    (5, False, 5, False, LATER, False),  # Redis went back by one turn
    (5, False, 4, False, NOW + SECOND, False),  # and by two
    (5, False, 4, True, NOW + SECOND, False),
    (5, True, 6, False, LATER, False),  # ended
    (5, False, 6, False, NOW + WEEK, False),  # expired
]


@pytest.mark.parametrize(("rotation_count", "ended", "counted", "repeated", "at", "may"), CASES)
def test_a_refresh_takes_effect_unless_the_session_is_over_or_redis_is_behind(
    rotation_count: int,
    ended: bool,  # noqa: FBT001 - a column of the table
    counted: int,
    repeated: bool,  # noqa: FBT001 - the same
    at: datetime,
    may: bool,  # noqa: FBT001 - the same
) -> None:
    state = SessionState(ADA, rotation_count, NOW, ended)
    issued = IssuedToken(Session("0" * 32, UUID(int=1)), "a token", counted, repeated)
    assert state.allows(issued, SETTINGS, at) == may


def test_a_session_lives_as_long_as_a_refresh_token() -> None:
    assert expiry_cutoff(SETTINGS, NOW) == SINCE

"""What caused an exception, with errors that Postgres and Redis really raised."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.errors import Outage, Permanent, PublishUnknown, Snooze, Transient
from infra.messaging.error_classifier import ErrorKind, classify_error, to_failure
from infra.settings import Settings
from infra.storage.engine import open_engine

RAISE = "do $$ begin raise exception using errcode = '{}'; end $$"
STATES = [
    ("08006", ErrorKind.OUTAGE),  # connection_failure
    ("08P01", ErrorKind.OUTAGE),  # protocol_violation
    ("22P02", ErrorKind.DATA),  # invalid_text_representation
    ("22003", ErrorKind.DATA),  # numeric_value_out_of_range
    ("23502", ErrorKind.DATA),  # not_null_violation
    ("23505", ErrorKind.DATA),  # unique_violation
    ("23514", ErrorKind.DATA),  # check_violation
    ("25001", ErrorKind.BUG),  # active_sql_transaction
    ("25006", ErrorKind.OUTAGE),  # read_only_sql_transaction
    ("25P02", ErrorKind.BUG),  # in_failed_sql_transaction
    ("28000", ErrorKind.OUTAGE),  # invalid_authorization_specification
    ("28P01", ErrorKind.OUTAGE),  # invalid_password
    ("40001", ErrorKind.CONFLICT),  # serialization_failure
    ("40P01", ErrorKind.CONFLICT),  # deadlock_detected
    ("42501", ErrorKind.BUG),  # insufficient_privilege
    ("42703", ErrorKind.BUG),  # undefined_column
    ("42P01", ErrorKind.BUG),  # undefined_table
    ("53100", ErrorKind.OUTAGE),  # disk_full
    ("53200", ErrorKind.OUTAGE),  # out_of_memory
    ("53300", ErrorKind.OUTAGE),  # too_many_connections
    ("54000", ErrorKind.DATA),  # program_limit_exceeded: a value too long for an index
    ("54001", ErrorKind.BUG),  # statement_too_complex
    ("55000", ErrorKind.BUG),  # object_not_in_prerequisite_state
    ("55006", ErrorKind.CONFLICT),  # object_in_use
    ("55P03", ErrorKind.CONFLICT),  # lock_not_available
    ("57014", ErrorKind.CONFLICT),  # query_canceled: the statement timeout
    ("57P01", ErrorKind.OUTAGE),  # admin_shutdown
    ("57P03", ErrorKind.OUTAGE),  # cannot_connect_now
    ("58030", ErrorKind.OUTAGE),  # io_error
    ("0A000", ErrorKind.BUG),  # feature_not_supported
    ("P0001", ErrorKind.BUG),  # raise_exception
    ("XX000", ErrorKind.SUSPECTED_OUTAGE),  # internal_error
]


@pytest.fixture
async def scratch(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Give an engine with a table of its own, whose text has an index."""
    async with engine.begin() as tx:
        await tx.execute(text("drop table if exists scratch"))
        await tx.execute(text("create table scratch (id bigint primary key, t text unique)"))
    yield engine
    async with engine.begin() as tx:
        await tx.execute(text("drop table scratch"))


@pytest.mark.parametrize(("state", "fault"), STATES)
async def test_a_sqlstate_tells_the_cause(
    engine: AsyncEngine, state: str, fault: ErrorKind
) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as tx:
            await tx.execute(text(RAISE.format(state)))
    assert classify_error(caught.value) is fault


TOO_LONG = "select 1, string_agg(md5(n::text), '') from generate_series(1, 2000) n"
STATEMENTS = [
    (("insert into scratch values (1, null), (1, null)",), ErrorKind.DATA),
    ((f"insert into scratch {TOO_LONG}",), ErrorKind.DATA),
    (("insert into scratch values (1, 'a' || chr(0))",), ErrorKind.DATA),
    (("select * from there_is_none",), ErrorKind.BUG),
    (("set transaction read only", "insert into scratch values (1, '')"), ErrorKind.OUTAGE),
    (("set local statement_timeout = 20", "select pg_sleep(5)"), ErrorKind.CONFLICT),
]


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as tx:
        for statement in statements:
            await tx.execute(text(statement))


@pytest.mark.parametrize(("statements", "fault"), STATEMENTS)
async def test_statements_that_fail_tell_the_cause(
    scratch: AsyncEngine, statements: tuple[str, ...], fault: ErrorKind
) -> None:
    with pytest.raises(DBAPIError) as caught:
        await run(scratch, *statements)
    assert classify_error(caught.value) is fault


async def test_a_lock_is_a_conflict(scratch: AsyncEngine) -> None:
    async with scratch.begin() as holder:
        await holder.execute(text("lock table scratch"))
        with pytest.raises(DBAPIError) as caught:
            await run(scratch, "set local lock_timeout = 20", "select * from scratch")
    assert classify_error(caught.value) is ErrorKind.CONFLICT


async def test_a_plan_that_outlived_its_table_is_a_conflict(scratch: AsyncEngine) -> None:
    asked = text("select * from scratch")
    async with scratch.connect() as reader:
        await reader.execute(asked)
        await reader.rollback()
        async with scratch.begin() as tx:
            await tx.execute(text("alter table scratch add column more text"))
        with pytest.raises(DBAPIError) as caught:
            await reader.execute(asked)
    assert classify_error(caught.value) is ErrorKind.CONFLICT
    words = "cached plan must not change result type"
    raised = f"do $$ begin raise '{words}' using errcode = '0A000'; end $$"
    with pytest.raises(DBAPIError) as caught:
        await run(scratch, raised)
    assert classify_error(caught.value) is ErrorKind.CONFLICT


async def test_a_session_that_was_ended_is_an_outage(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as tx:
            await tx.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    assert classify_error(caught.value) is ErrorKind.OUTAGE


async def test_what_the_driver_refuses_to_send_is_the_datas_fault(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as tx:
            await tx.execute(text("select cast(:big as bigint)"), {"big": 2**70})
    assert classify_error(caught.value) is ErrorKind.DATA
    verdict = to_failure(caught.value, ErrorKind.DATA)
    assert isinstance(verdict, Permanent)
    assert verdict.reason == "Postgres refuses the data (SQLSTATE 22000)"


async def test_a_constraint_that_a_race_can_break_is_tried_again_for_a_minute(
    scratch: AsyncEngine,
) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with scratch.begin() as tx:
            await tx.execute(text("insert into scratch values (1, 'a'), (2, 'a')"))
    verdict = to_failure(caught.value, classify_error(caught.value))
    assert isinstance(verdict, Transient)
    assert (verdict.code, verdict.within) == ("INVALID_DATA", 60)


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 1},
        {"password": "wrong"},
        {"username": "nobody"},
        {"database": "none"},
    ],
)
async def test_a_database_that_lets_nobody_in_is_an_outage(
    settings: Settings, changes: dict[str, str | int]
) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(**changes)  # type: ignore[arg-type]
    secret = SecretStr(url.render_as_string(hide_password=False))
    there = settings.model_copy(update={"database_url": secret})
    nowhere = open_engine(there)
    with pytest.raises(OSError, match=r"SQLSTATE|Connect") as caught:
        async with nowhere.begin():
            pass
    assert classify_error(caught.value) in (ErrorKind.OUTAGE, ErrorKind.SUSPECTED_OUTAGE)


async def test_sessions_that_are_stuck_in_read_only_are_renewed(
    settings: Settings,
    scratch: AsyncEngine,  # noqa: ARG001 - its table
) -> None:
    write = text("insert into scratch values (:id, null)")
    stuck = open_engine(settings)
    async with stuck.connect() as one, stuck.connect() as two:
        for session in (one, two):
            await session.execute(text("set session default_transaction_read_only = on"))
            await session.commit()
    with pytest.raises(DBAPIError) as caught:
        async with stuck.begin() as tx:
            await tx.execute(write, {"id": 1})
    assert classify_error(caught.value) is ErrorKind.OUTAGE
    for number in (2, 3):
        async with stuck.begin() as tx:
            await tx.execute(write, {"id": number})
    await stuck.dispose()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Outage(), ErrorKind.OUTAGE),
        (PublishUnknown(), ErrorKind.OUTAGE),
        (RedisGone(), ErrorKind.OUTAGE),
        (ReadOnlyError(), ErrorKind.OUTAGE),
        (PoolExhausted(), ErrorKind.OUTAGE),
        (TimeoutError(), ErrorKind.SUSPECTED_OUTAGE),
        (Transient(""), ErrorKind.BUG),
        (Snooze("", 1), ErrorKind.BUG),
        (ResponseError("ERR syntax error"), ErrorKind.BUG),
        (KeyError(), ErrorKind.BUG),
    ],
)
def test_an_exception_tells_its_cause(error: Exception, fault: ErrorKind) -> None:
    assert classify_error(error) is fault


@pytest.mark.parametrize("word", ["MISCONF", "READONLY", "OOM", "LOADING", "NOAUTH"])
async def test_a_redis_that_takes_no_writes_is_an_outage(redis: Redis, word: str) -> None:
    script = f"return redis.error_reply('{word} it is so')"
    with pytest.raises(RedisError) as caught:
        await redis.eval(script, 0)
    assert classify_error(caught.value) is ErrorKind.OUTAGE

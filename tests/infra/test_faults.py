"""Whose fault an exception is, with errors that Postgres really raised."""

import pytest
from redis.exceptions import ConnectionError as RedisGone
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from infra.errors import Outage, Permanent, PublishUnknown, Snooze, Transient
from infra.faults import Fault, blame, fault_of

RAISE = "do $$ begin raise exception using errcode = '{}'; end $$"
STATES = [
    ("40001", Fault.CONFLICT),  # serialization_failure
    ("40P01", Fault.CONFLICT),  # deadlock_detected
    ("55P03", Fault.CONFLICT),  # lock_not_available
    ("57014", Fault.CONFLICT),  # query_canceled: the statement timeout
    ("57P01", Fault.OUTAGE),  # admin_shutdown
    ("57P03", Fault.OUTAGE),  # cannot_connect_now
    ("53100", Fault.OUTAGE),  # disk_full
    ("53300", Fault.OUTAGE),  # too_many_connections
    ("08006", Fault.OUTAGE),  # connection_failure
    ("22P02", Fault.DATA),  # invalid_text_representation
    ("22003", Fault.DATA),  # numeric_value_out_of_range
    ("23505", Fault.BUG),  # unique_violation
    ("42P01", Fault.BUG),  # undefined_table
]


@pytest.mark.parametrize(("state", "fault"), STATES)
async def test_a_sqlstate_tells_whose_fault_it_is(
    engine: AsyncEngine, state: str, fault: Fault
) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as tx:
            await tx.execute(text(RAISE.format(state)))
    assert fault_of(caught.value) is fault


async def test_what_the_driver_refuses_to_send_is_the_datas_fault(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as tx:
            await tx.execute(text("select cast(:big as bigint)"), {"big": 2**70})
    assert fault_of(caught.value) is Fault.DATA
    verdict = blame(caught.value, Fault.DATA)
    assert isinstance(verdict, Permanent)
    assert verdict.reason == "Postgres refuses the data (SQLSTATE 22000)"


async def test_a_database_that_is_not_there_is_a_suspected_outage() -> None:
    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(OSError, match="Connect") as caught:
        async with nowhere.begin():
            pass
    assert fault_of(caught.value) is Fault.SUSPECTED_OUTAGE


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Outage(), Fault.OUTAGE),
        (PublishUnknown(), Fault.OUTAGE),
        (RedisGone(), Fault.OUTAGE),
        (PoolExhausted(), Fault.OUTAGE),
        (TimeoutError(), Fault.SUSPECTED_OUTAGE),
        (Transient(""), Fault.BUG),
        (Snooze("", 1), Fault.BUG),
        (KeyError(), Fault.BUG),
    ],
)
def test_an_exception_tells_whose_fault_it_is(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault

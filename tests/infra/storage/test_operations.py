from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.operations import find_operation, find_operations, put_operations
from schemas.operations import Operation, OperationError

DONE = Operation(id="op_1", state="done", result={"id": "x", "budget": 1.5})
REJECTED = Operation(
    id="op_2", state="refused", error=OperationError(code="NOT_FOUND", message="none")
)


async def test_operations_come_back_as_they_were_written(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await put_operations(tx, [REJECTED, DONE])
        await put_operations(tx, [])
        assert await find_operation(tx, "op_1") == DONE
        assert await find_operation(tx, "op_3") is None
        found = await find_operations(tx, ["op_1", "op_2", "op_3"])
    assert sorted(found, key=lambda operation: operation.id) == [DONE, REJECTED]


async def test_the_later_state_is_written_within_a_batch_and_after_it(engine: AsyncEngine) -> None:
    dead = Operation(id="op_1", state="dead", error=OperationError(code="X", message="y"))
    async with engine.begin() as tx:
        await put_operations(tx, [DONE, dead])
        assert await find_operation(tx, "op_1") == dead
        await put_operations(tx, [DONE])
        assert await find_operation(tx, "op_1") == DONE

"""Operations: the outcome of a write that was answered with 202."""

from typing import Any, Literal

from schemas.types import FrozenModel

OperationState = Literal["pending", "done", "refused", "dead"]


class OperationError(FrozenModel):
    """Why an operation is ``refused`` or ``dead``."""

    code: str
    message: str


class Operation(FrozenModel):
    """The answer of ``GET /api/v1/operations/{id}``."""

    id: str
    state: OperationState
    result: dict[str, Any] | None = None
    error: OperationError | None = None


CAMPAIGN_NOT_FOUND = OperationError(code="NOT_FOUND", message="there is no such campaign")

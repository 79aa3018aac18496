"""What admins ask about API keys; what came of it stands in ``audit.recorded.v1``."""

from typing import Annotated, Literal

from pydantic import Field

from events.base import Data, Event
from events.users import SealedRequest


class SealedDraft(Data):
    """A key to be made, sealed to the auth worker's public key: it may name many sources."""

    sealed: Annotated[str, Field(min_length=1, max_length=32_768, pattern=r"^[A-Za-z0-9_-]+$")]


class ApiKeyCreateRequested(Event):
    """An admin wants an API key; on ``adrelay.requests`` only, and the key in the reply only."""

    type: Literal["api_key.create_requested.v1"] = "api_key.create_requested.v1"
    data: SealedDraft


class ApiKeyRevokeRequested(Event):
    """An admin wants an API key to be valid no more; on ``adrelay.requests`` only."""

    type: Literal["api_key.revoke_requested.v1"] = "api_key.revoke_requested.v1"
    data: SealedRequest

"""What admins ask about API keys; what came of it stands in ``audit.recorded.v1``."""

from typing import Annotated, Literal

from pydantic import Field

from events.users import EncryptedRequest, EncryptedRequestData


class ApiKeyCreateRequestedData(EncryptedRequestData):
    """A key to be made, sealed to the auth worker's public key: it may name many sources."""

    sealed: Annotated[str, Field(min_length=1, max_length=32_768, pattern=r"^[A-Za-z0-9_-]+$")]


class ApiKeyCreateRequested(EncryptedRequest):
    """An admin wants an API key, which stands in the reply and nowhere else."""

    type: Literal["api_key.create_requested.v1"] = "api_key.create_requested.v1"
    data: ApiKeyCreateRequestedData


class ApiKeyRevokeRequested(EncryptedRequest):
    """An admin wants an API key to be valid no more."""

    type: Literal["api_key.revoke_requested.v1"] = "api_key.revoke_requested.v1"

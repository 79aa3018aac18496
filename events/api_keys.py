"""Requests of admins about API keys; ``audit.recorded.v1`` has their outcome."""

from typing import Annotated, Literal

from pydantic import Field

from events.users import EncryptedRequest, EncryptedRequestData


class ApiKeyCreateRequestedData(EncryptedRequestData):
    """The API key to create, encrypted; the text is long, since a key may have many sources."""

    sealed: Annotated[str, Field(min_length=1, max_length=32_768, pattern=r"^[A-Za-z0-9_-]+$")]


class ApiKeyCreateRequested(EncryptedRequest):
    """An admin asks for a new API key; only the reply contains the key itself."""

    type: Literal["api_key.create_requested.v1"] = "api_key.create_requested.v1"
    data: ApiKeyCreateRequestedData


class ApiKeyRevokeRequested(EncryptedRequest):
    """An admin asks to revoke an API key."""

    type: Literal["api_key.revoke_requested.v1"] = "api_key.revoke_requested.v1"

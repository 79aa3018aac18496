"""Replies to the ingress: ``{"status": ..., "data": ...}`` or ``{"status": ..., "error": ...}``."""

from typing import Any

from pydantic import ValidationError

from infra.resources import Resources
from infra.security.refresh_token_rotation import IssuedToken
from schemas.users import SessionTokens, User

Reply = dict[str, Any]

NO_CONTENT: Reply = {"status": 204, "data": None}


def error_reply(status: int, code: str, message: str) -> Reply:
    """Build the reply for an error."""
    return {"status": status, "error": {"code": code, "message": message}}


def validation_reply(details: list[dict[str, str]]) -> Reply:
    """Build the reply for invalid fields, with ``details`` as ``describe_fields`` returns them."""
    reply = error_reply(400, "VALIDATION_ERROR", "The request is not valid.")
    reply["error"]["details"] = details
    return reply


def describe_fields(error: ValidationError) -> list[dict[str, str]]:
    """Describe each invalid field, without quoting what was sent."""
    return [
        {"field": ".".join(str(part) for part in line["loc"]), "message": line["msg"]}
        for line in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def token_reply(
    status: int, resources: Resources, user: User, issued: IssuedToken, *, with_user: bool = True
) -> Reply:
    """Build the reply with a new access token and the refresh token of a session."""
    tokens = SessionTokens(
        user=user if with_user else None,
        access_token=resources.keys.token_signer.sign(user, issued.session.id),
        refresh_token=issued.refresh_token,
        expires_in=resources.settings.access_token_seconds,
    )
    return {"status": status, "data": tokens.model_dump(mode="json", exclude_none=True)}

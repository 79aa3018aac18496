"""Parses bodies, query strings and path parameters of requests.

The size of a body is limited before parsing and counted after decompression (aiohttp's
``client_max_size``); the JSON parser stops at 200 levels of nesting. Errors name fields as the API
spells them and do not quote what the client sent.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from infra.web.errors import (
    MAX_FIELD_ERRORS,
    FieldError,
    HttpError,
    invalid,
    not_found,
    too_large,
    unsupported_media_type,
)
from infra.web.responses import JSON
from workers.ingress.http.field_names import field_path
from workers.ingress.http.strict_json import find_ambiguities

M = TypeVar("M", bound=BaseModel)

BODY_TIMEOUT = 30.0  # seconds for a client to send its body
CONTENT_ENCODINGS = {"", "identity", "gzip", "deflate"}
UUID_LENGTH = 36
CHARSET_PATTERN = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
UTF8_CHARSETS = {"utf-8", "utf8", "us-ascii"}


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raises an ``HttpError``: 400, 408, 413 or 415 (content coding)."""
    coding = request.headers.get("Content-Encoding")
    if coding is not None and coding.strip().lower() not in CONTENT_ENCODINGS:
        raise HttpError(
            415,
            "UNSUPPORTED_CONTENT_ENCODING",
            "The body may be compressed with gzip or deflate.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    if (request.content_length or 0) > request.client_max_size:
        raise _too_large(request)
    try:
        if request.content.is_eof():  # received together with the headers
            return _within(request, request.content.read_nowait())
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(request) from None
    except TimeoutError:
        raise HttpError(408, "REQUEST_TIMEOUT", "The body was not received in time.") from None
    except web.RequestPayloadError:
        raise HttpError(400, "MALFORMED_REQUEST", "The body cannot be read.") from None
    except ConnectionResetError:  # the client is gone; the status is for logs and metrics
        raise HttpError(400, "MALFORMED_REQUEST", "The body ended early.") from None


def _within(request: web.Request, body: bytes) -> bytes:
    if len(body) > request.client_max_size:
        raise _too_large(request)
    return body


def media_type(request: web.Request) -> str:
    """Return the media type of the body in lower case, without parameters.

    Raises an ``HttpError`` (415) for text in another encoding than UTF-8 (RFC 8259, section 8.1).
    """
    kind, _, parameters = request.headers.get("Content-Type", "").partition(";")
    charset = CHARSET_PATTERN.search(f";{parameters}") if parameters else None
    if charset is not None and charset[1].lower() not in UTF8_CHARSETS:
        raise HttpError(415, "UNSUPPORTED_CHARSET", "The body must be UTF-8.")
    return kind.strip().lower()


async def read_model(request: web.Request, shape: type[M]) -> M:
    """Read and validate a JSON body; raises an ``HttpError``: 400, 408, 413 or 415."""
    if media_type(request) != JSON:
        raise unsupported_media_type(JSON)
    body = await read_body(request)
    try:
        model = shape.model_validate_json(body)
    except ValidationError as error:
        raise invalid(json_field_errors(error, body)) from None
    if wrong := find_ambiguities(body):
        raise invalid(wrong)
    return model


def read_query(request: web.Request, shape: type[M]) -> M:
    """Parse the query string; raises an ``HttpError`` (400). Unknown parameters are ignored."""
    known = {name: value for name, value in request.query.items() if name in _names(shape)}
    try:
        return shape.model_validate_strings(known)
    except ValidationError as error:
        raise invalid(to_field_errors(error)) from None


def read_id(request: web.Request, what: str) -> UUID:
    """Parse the UUID in the path; raises an ``HttpError`` (404) for any other text."""
    text = request.match_info["id"]
    try:
        if len(text) == UUID_LENGTH:
            return UUID(text)
    except ValueError:
        pass
    raise not_found(what)


def json_field_errors(error: ValidationError, body: bytes) -> list[FieldError]:
    """List the errors of a body; malformed JSON is traced to a field where possible."""
    malformed = all(line["type"] == "json_invalid" for line in error.errors(include_input=False))
    return (find_ambiguities(body) if malformed else []) or to_field_errors(error)


def to_field_errors(error: ValidationError, *, skip: int = 0) -> list[FieldError]:
    """Convert a pydantic error, one detail per field; ``skip`` cuts the start of each location."""
    found: dict[str, str] = {}
    lines: Iterable[Mapping[str, Any]] = error.errors(
        include_input=False, include_url=False, include_context=False
    )
    for line in lines:
        found.setdefault(field_path(line["loc"][skip:]), _message(line))
    errors = [FieldError(field, message) for field, message in found.items()]
    return errors[:MAX_FIELD_ERRORS]


def _message(line: Mapping[str, Any]) -> str:
    return str(line["msg"]).removeprefix("Value error, ")


def _names(shape: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in shape.model_fields.items()}


def _too_large(request: web.Request) -> HttpError:
    return too_large(f"The body may have at most {request.client_max_size} bytes.")

"""Reading a request: type, size and shape of its body, shape of its query and path.

The size is capped before anything is parsed and counted after decompression (aiohttp's
``client_max_size``); the parser stops at 200 levels of nesting. What is wrong is told field
by field, in the names of the API, without quoting what the client sent.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from workers.ingress.http.errors import Detail, Refusal, invalid, not_found, too_large, unsupported
from workers.ingress.http.field_names import field_of
from workers.ingress.http.responses import JSON
from workers.ingress.http.strict_json import ambiguities

M = TypeVar("M", bound=BaseModel)

BODY_LIMIT = 30.0  # seconds for a client to send its body
ENCODINGS = {"", "identity", "gzip", "deflate"}
MOST_DETAILS = 50
UUID_LENGTH = 36
CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
UTF8 = {"utf-8", "utf8", "us-ascii"}


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raises a ``Refusal``: 400, 408, 413 or 415 (content coding)."""
    if request.headers.get("Content-Encoding", "").strip().lower() not in ENCODINGS:
        raise Refusal(
            415,
            "UNSUPPORTED_CONTENT_ENCODING",
            "The body may be compressed with gzip or deflate.",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    if (request.content_length or 0) > request.client_max_size:
        raise _oversized(request)
    try:
        if request.content.is_eof():  # it came with the headers
            return _within(request, request.content.read_nowait())
        async with asyncio.timeout(BODY_LIMIT):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _oversized(request) from None
    except TimeoutError:
        raise Refusal(408, "REQUEST_TIMEOUT", "The body did not come in time.") from None
    except web.RequestPayloadError:
        raise Refusal(400, "MALFORMED_REQUEST", "The body cannot be read.") from None
    except ConnectionResetError:  # nobody is there to read the answer
        raise Refusal(400, "MALFORMED_REQUEST", "The body ended early.") from None


def _within(request: web.Request, body: bytes) -> bytes:
    if len(body) > request.client_max_size:
        raise _oversized(request)
    return body


def media_type(request: web.Request) -> str:
    """Tell the media type of the body in lower case, without parameters.

    Raises a ``Refusal`` (415) for text in another encoding than UTF-8 (RFC 8259, section 8.1).
    """
    kind, _, parameters = request.headers.get("Content-Type", "").partition(";")
    charset = CHARSET.search(f";{parameters}") if parameters else None
    if charset is not None and charset[1].lower() not in UTF8:
        raise Refusal(415, "UNSUPPORTED_CHARSET", "The body must be UTF-8.")
    return kind.strip().lower()


async def read_model(request: web.Request, shape: type[M]) -> M:
    """Read a JSON body of a given shape; raises a ``Refusal``: 400, 408, 413 or 415."""
    if media_type(request) != JSON:
        raise unsupported(JSON)
    body = await read_body(request)
    try:
        model = shape.model_validate_json(body)
    except ValidationError as error:
        raise invalid(json_details(error, body)) from None
    if wrong := ambiguities(body):
        raise invalid(wrong)
    return model


def read_query(request: web.Request, shape: type[M]) -> M:
    """Read the query string; raises a ``Refusal`` (400). Unknown parameters are ignored."""
    known = {name: value for name, value in request.query.items() if name in _names(shape)}
    try:
        return shape.model_validate_strings(known)
    except ValidationError as error:
        raise invalid(details_of(error)) from None


def read_id(request: web.Request, what: str) -> UUID:
    """Read the UUID in the path; raises a ``Refusal`` (404), for no other text names anything."""
    text = request.match_info["id"]
    try:
        if len(text) == UUID_LENGTH:
            return UUID(text)
    except ValueError:
        pass
    raise not_found(what)


def json_details(error: ValidationError, body: bytes) -> list[Detail]:
    """Tell what is wrong with a body, with the field's name for what breaks the whole of it."""
    whole = all(line["type"] == "json_invalid" for line in error.errors(include_input=False))
    return (ambiguities(body) if whole else []) or details_of(error)


def details_of(error: ValidationError, *, skip: int = 0) -> list[Detail]:
    """Tell what is wrong, one detail for each field; ``skip`` parts of each place are ours."""
    found: dict[str, str] = {}
    lines: Iterable[Mapping[str, Any]] = error.errors(
        include_input=False, include_url=False, include_context=False
    )
    for line in lines:
        found.setdefault(field_of(line["loc"][skip:]), _message(line))
    return [Detail(field, message) for field, message in list(found.items())[:MOST_DETAILS]]


def _message(line: Mapping[str, Any]) -> str:
    return str(line["msg"]).removeprefix("Value error, ")


def _names(shape: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in shape.model_fields.items()}


def _oversized(request: web.Request) -> Refusal:
    return too_large(f"The body may have at most {request.client_max_size} bytes.")

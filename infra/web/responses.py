"""JSON responses in the envelope ``{"success", "data" or "error", "meta"}``."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel

from events.envelope import now
from infra.web.errors import HttpError

JSON = "application/json"
OPTIONS = orjson.OPT_UTC_Z


def success(
    request_id: str,
    data: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    pagination: Mapping[str, object] | None = None,
) -> web.Response:
    """Build a successful response; ``data`` is a model, a list of models, or JSON types."""
    body: dict[str, object] = {"success": True, "data": data}
    if pagination is not None:
        body["pagination"] = pagination
    return _build(request_id, body, status, headers)


def failure(request_id: str, http_error: HttpError) -> web.Response:
    """Build an error response."""
    error: dict[str, object] = {"code": http_error.code, "message": http_error.message}
    if http_error.details:
        error["details"] = [{"field": d.field, "message": d.message} for d in http_error.details]
    body: dict[str, object] = {"success": False, "error": error}
    return _build(request_id, body, http_error.status, http_error.headers)


def raw_json(body: bytes, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Build a response with JSON outside the envelope."""
    return web.Response(body=body, headers={"Content-Type": JSON, **(headers or {})})


def add_standard_headers(response: web.StreamResponse, request_id: str) -> None:
    """Add ``X-Request-ID`` and ``Server`` to a response."""
    response.headers["X-Request-ID"] = request_id
    response.headers["Server"] = "adrelay"


def to_json(value: object) -> bytes:
    """Serialize to JSON; models, decimals and UUIDs included."""
    return orjson.dumps(value, default=_serialize, option=OPTIONS)


def _build(
    request_id: str,
    body: dict[str, object],
    status: int,
    headers: Mapping[str, str] | None,
) -> web.Response:
    body["meta"] = {"timestamp": now(), "request_id": request_id}
    return web.Response(
        body=to_json(body), status=status, headers={"Content-Type": JSON, **(headers or {})}
    )


def _serialize(value: Any) -> object:  # noqa: ANN401 - types that orjson does not know
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Decimal):  # exact, unlike a double
        return orjson.Fragment(f"{value.normalize():f}")
    if isinstance(value, UUID):  # asyncpg returns a subclass
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")

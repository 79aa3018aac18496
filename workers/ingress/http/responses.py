"""The envelope of every answer: ``{"success", "data" or "error", "meta"}``, as JSON."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel

from events.envelope import now
from workers.ingress.http.errors import HttpError

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
    """Answer with data: models, lists of them, and what JSON knows."""
    body: dict[str, object] = {"success": True, "data": data}
    if pagination is not None:
        body["pagination"] = pagination
    return _answer(request_id, body, status, headers)


def failure(request_id: str, refusal: HttpError) -> web.Response:
    """Answer with an error."""
    error: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.details:
        error["details"] = [{"field": d.field, "message": d.message} for d in refusal.details]
    body: dict[str, object] = {"success": False, "error": error}
    return _answer(request_id, body, refusal.status, refusal.headers)


def raw_json(body: bytes, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON outside the envelope."""
    return web.Response(body=body, headers={"Content-Type": JSON, **(headers or {})})


def add_standard_headers(response: web.StreamResponse, request_id: str) -> None:
    """Put the request's id into an answer's headers."""
    response.headers["X-Request-ID"] = request_id
    response.headers["Server"] = "adrelay"


def to_json(value: object) -> bytes:
    """Write JSON; models write themselves."""
    return orjson.dumps(value, default=_model, option=OPTIONS)


def _answer(
    request_id: str,
    body: dict[str, object],
    status: int,
    headers: Mapping[str, str] | None,
) -> web.Response:
    body["meta"] = {"timestamp": now(), "request_id": request_id}
    return web.Response(
        body=to_json(body), status=status, headers={"Content-Type": JSON, **(headers or {})}
    )


def _model(value: Any) -> object:  # noqa: ANN401 - orjson hands over what it does not know
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Decimal):  # exact, also where a double is not
        return orjson.Fragment(f"{value.normalize():f}")
    if isinstance(value, UUID):  # the database driver has a class of its own
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")

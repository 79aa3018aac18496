"""Classifies the responses of ad platforms: a pure function of status, headers and body.

2xx                                   Success, parsed by the dialect
401, with a new token                 RetryLater: an operator must check the client credentials
404, 410                              NotFound
408, 409, 425                         RetryLater, for this request: at no cost with Retry-After
429                                   RetryLater, after Retry-After
any other with Retry-After            RetryLater, after Retry-After (RFC 9110, section 10.2.3)
other 4xx, in the platform's format   Rejected
5xx, 3xx, malformed                   Failed: counts against the platform
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

from infra.http.client import HttpResponse, parse_retry_after
from infra.platforms.base import Dialect
from infra.platforms.results import Failed, NotFound, Rejected, Result, RetryLater, Scope, Success

T = TypeVar("T")

DEFAULT_RETRY_SECONDS = 5.0  # after 429 without Retry-After
MAX_RETRY_SECONDS = 900.0
CREDENTIALS_SECONDS = 60.0  # until client credentials that were refused are tried again

NOT_FOUND_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
RETRYABLE_STATUSES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)


def classify_response(
    dialect: Dialect,
    parse: Callable[[bytes], T],
    response: HttpResponse,
    now: datetime,
    *,
    for_owner: bool = False,
) -> Result[T]:
    """Classify a response; the body of a success is read by ``parse``.

    ``now`` is aware: a Retry-After with a date is relative to it. ``for_owner`` says that the
    request carried an account owner's token: a refusal with Retry-After may then concern that
    account only.
    """
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        value = _parse(parse, response)
        return value if isinstance(value, Failed) else Success(value)
    if status == HTTPStatus.UNAUTHORIZED:
        return RetryLater(f"{dialect.TITLE} refuses our credentials", CREDENTIALS_SECONDS)
    if status not in NOT_FOUND_STATUSES:
        seconds = parse_retry_after(response.headers, now)
        if (later := _classify_retry(dialect, status, seconds, for_owner=for_owner)) is not None:
            return later
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        error: Rejected | Failed = _parse(dialect.parse_error, response)
        if isinstance(error, Failed):
            return error
        return NotFound() if status in NOT_FOUND_STATUSES else error
    return Failed(f"HTTP {status}")


def clamp_wait(seconds: float) -> float:
    """Limit a wait that a platform asks for to 1 to 900 seconds."""
    return min(max(seconds, 1.0), MAX_RETRY_SECONDS)


def _parse(parse: Callable[[bytes], T], response: HttpResponse) -> T | Failed:
    try:
        return parse(response.body)
    except ValueError:
        return Failed("the answer is malformed")


def _classify_retry(
    dialect: Dialect, status: int, seconds: float | None, *, for_owner: bool
) -> RetryLater | None:
    """Decide whether a status, with the seconds of its Retry-After, asks for a retry."""
    reason = f"{dialect.TITLE} asks to wait"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RetryLater(reason, clamp_wait(DEFAULT_RETRY_SECONDS if seconds is None else seconds))
    if status in RETRYABLE_STATUSES:
        wait = None if seconds is None else clamp_wait(seconds)
        return RetryLater(f"{dialect.TITLE} answers {status}", wait, "request")
    if seconds is None or status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    is_refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR
    scope: Scope = "account" if is_refusal and for_owner else "platform"
    return RetryLater(reason, clamp_wait(seconds), scope)

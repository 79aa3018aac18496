"""What an answer means: a pure function of its status, its headers and the platform's words.

2xx                                   a success, to be read in the platform's words
401, after a fresh token              Patience: a person must look
404, 410                              Gone
408, 409, 425                         Transient; with Retry-After CallWaits, as long as it says
429                                   Patience, as long as Retry-After says
any other with Retry-After            Patience, as long as it says (RFC 9110, section 10.2.3):
                                      a refusal that asks to come again is none
other 4xx, in the platform's words    Refused
5xx, 3xx, malformed                   NoAnswer: it speaks against the platform
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

from infra.errors import Failure, Transient
from infra.http.client import HttpFailure, HttpResponse, parse_retry_after
from infra.platforms.base import Dialect, RequestSnooze

T = TypeVar("T")

# Seconds to wait: after 429 without Retry-After, at most after one, for new credentials.
DEFAULT_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 900.0
CREDENTIALS_SECONDS = 60.0

NOT_FOUND_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
RETRYABLE_STATUSES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)


class NotFound(Exception):
    """The platform does not know what the call was about."""


class RetryLater(Exception):
    """The platform will not be spoken to for ``seconds``; ``reason`` is a predicate.

    ``refusal`` tells that a call was refused for now, which may be about its account alone.
    """

    def __init__(self, reason: str, seconds: float, *, refusal: bool = False) -> None:
        """Keep the reason and the wait, which is 1 to 900 seconds whatever was asked for."""
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
        self.seconds = clamp_wait(seconds)


def clamp_wait(seconds: float) -> float:
    """Give a wait that was asked for, 1 to 900 seconds whatever it was."""
    return min(max(seconds, 1.0), MAX_RETRY_SECONDS)


def parse_body(read: Callable[[bytes], T], answer: HttpResponse) -> T:
    """Read a body; raises ``HttpFailure`` if it makes no sense."""
    try:
        return read(answer.body)
    except ValueError:
        raise HttpFailure("the answer is malformed") from None


def classify_response(dialect: Dialect, answer: HttpResponse, now: datetime) -> Exception | None:
    """Tell what an answer that is no success means; None for a success.

    ``now`` is aware and measures a Retry-After that is a date. Raises ``HttpFailure`` for what
    speaks against the platform.
    """
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status == HTTPStatus.UNAUTHORIZED:
        return RetryLater("refuses our credentials", CREDENTIALS_SECONDS)
    wait = (
        None
        if status in NOT_FOUND_STATUSES
        else _wait(dialect, status, parse_retry_after(answer.headers, now))
    )
    if wait is not None:
        return wait
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        refusal = parse_body(dialect.parse_error, answer)
        return NotFound() if status in NOT_FOUND_STATUSES else refusal
    raise HttpFailure(f"HTTP {status}")


def _wait(dialect: Dialect, status: int, seconds: float | None) -> RetryLater | Failure | None:
    """Tell whether a status, with the seconds of its Retry-After, means to come again."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RetryLater(
            "asks for patience", DEFAULT_RETRY_SECONDS if seconds is None else seconds
        )
    if status in RETRYABLE_STATUSES:
        reason = f"{dialect.TITLE} answers {status}"
        if seconds is None:
            return Transient(reason, code="PLATFORM_BUSY")
        return RequestSnooze(reason, clamp_wait(seconds))
    if seconds is None or status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return RetryLater("asks for patience", seconds, refusal=refusal)

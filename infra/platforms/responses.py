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
from infra.http.client import Answer, NoAnswer, retry_after
from infra.platforms.base import CallWaits, Dialect

T = TypeVar("T")

# Seconds to wait: after 429 without Retry-After, at most after one, for new credentials.
PATIENCE_SECONDS = 5.0
MAX_PATIENCE_SECONDS = 900.0
CREDENTIALS_SECONDS = 60.0

GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)


class Gone(Exception):
    """The platform does not know what the call was about."""


class Patience(Exception):
    """The platform will not be spoken to for ``seconds``; ``reason`` is a predicate.

    ``refusal`` tells that a call was refused for now, which may be about its account alone.
    """

    def __init__(self, reason: str, seconds: float, *, refusal: bool = False) -> None:
        """Keep the reason and the wait, which is 1 to 900 seconds whatever was asked for."""
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
        self.seconds = within_reason(seconds)


def within_reason(seconds: float) -> float:
    """Give a wait that was asked for, 1 to 900 seconds whatever it was."""
    return min(max(seconds, 1.0), MAX_PATIENCE_SECONDS)


def understood(read: Callable[[bytes], T], answer: Answer) -> T:
    """Read a body; raises ``NoAnswer`` if it makes no sense."""
    try:
        return read(answer.body)
    except ValueError:
        raise NoAnswer("the answer is malformed") from None


def judge(dialect: Dialect, answer: Answer, now: datetime) -> Exception | None:
    """Tell what an answer that is no success means; None for a success.

    ``now`` is aware and measures a Retry-After that is a date. Raises ``NoAnswer`` for what
    speaks against the platform.
    """
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status == HTTPStatus.UNAUTHORIZED:
        return Patience("refuses our credentials", CREDENTIALS_SECONDS)
    wait = None if status in GONE else _wait(dialect, status, retry_after(answer.headers, now))
    if wait is not None:
        return wait
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        refusal = understood(dialect.refusal, answer)
        return Gone() if status in GONE else refusal
    raise NoAnswer(f"HTTP {status}")


def _wait(dialect: Dialect, status: int, seconds: float | None) -> Patience | Failure | None:
    """Tell whether a status, with the seconds of its Retry-After, means to come again."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Patience("asks for patience", PATIENCE_SECONDS if seconds is None else seconds)
    if status in AGAIN:
        reason = f"{dialect.TITLE} answers {status}"
        if seconds is None:
            return Transient(reason, code="PLATFORM_BUSY")
        return CallWaits(reason, within_reason(seconds))
    if seconds is None or status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Patience("asks for patience", seconds, refusal=refusal)

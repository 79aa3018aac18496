"""The possible results of a request to an ad platform: one closed set, for one ``match``.

    Success(value)     the platform did it
    NotFound           the platform does not know the campaign
    Rejected           a business rule of the platform forbids it: a retry changes nothing
    RetryLater         the platform, the account or the request has to wait
    Failed             no usable response: it may have taken effect

``to_error`` turns the last three into what a handler raises or returns.
"""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from infra.errors import Failure, Snooze, Transient

T = TypeVar("T")

# What has to wait: all requests to the platform, those of one account, or one request.
Scope = Literal["platform", "account", "request"]


@dataclass(frozen=True, slots=True)
class Success(Generic[T]):
    """The platform did it; ``value`` is what its response says."""

    value: T


@dataclass(frozen=True, slots=True)
class NotFound:
    """The platform does not know the campaign."""


class Rejected(Exception):
    """The platform rejects the campaign by a business rule; a retry changes nothing.

    Also raised by a dialect for a campaign that its API cannot express.
    """

    def __init__(self, code: str, message: str) -> None:
        """Keep the platform's own code and message, printable and at most 100 and 500 long."""
        self.code = replace_control_characters(code)[:100]
        self.message = replace_control_characters(message)[:500]
        super().__init__(f"{self.code}: {self.message}")


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The request may be repeated after ``seconds``, at no cost to the attempts.

    Without ``seconds`` the retry policy of the queue decides, and it costs an attempt.
    ``token_rejected``: the access token of the account has to be refreshed first.
    """

    reason: str
    seconds: float | None
    scope: Scope = "platform"
    token_rejected: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no usable response.

    With ``seconds`` it may be an outage: the retry costs no attempt. Without, it costs one.
    """

    reason: str
    seconds: float | None = None


Result = Success[T] | NotFound | Rejected | RetryLater | Failed


class RequestSnooze(Snooze):
    """This request has to wait; requests of other campaigns need not."""


class AccountUnavailable(RequestSnooze):
    """The access token of a connected account is rejected: its requests have to wait."""


class RequestUnanswered(RequestSnooze, Transient):
    """The platform gave no usable response, possibly in an outage: a retry costs no attempt."""


def to_error(result: Rejected | RetryLater | Failed) -> Rejected | Failure:
    """Turn a result without a value into the error that a handler fails with."""
    match result:
        case Rejected():
            return result
        case Failed(reason, None):
            return Transient(reason, code="PLATFORM_FAILED")
        case Failed(reason, seconds):
            return RequestUnanswered(reason, seconds or 0.0)
        case RetryLater(reason, None):
            return Transient(reason, code="PLATFORM_BUSY")
        case RetryLater():
            return _to_snooze(result, result.seconds or 0.0)


def _to_snooze(later: RetryLater, seconds: float) -> Snooze:
    if later.scope == "platform":
        return Snooze(later.reason, seconds)
    kind = AccountUnavailable if later.token_rejected else RequestSnooze
    return kind(later.reason, seconds)


def replace_control_characters(text: str) -> str:
    """Replace control characters, which logs and Postgres do not take, by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)

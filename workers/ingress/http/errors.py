"""Answers that are errors: a status, a stable code, a message, and one detail for each field.

A refusal never quotes what the client sent, but for the source of an event that a key may not
speak for, and the type that it may not publish.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RETRY_AFTER = "5"  # seconds


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; ``field`` is a dotted path such as ``targeting.age_range``."""

    field: str
    message: str


class HttpError(Exception):
    """A request is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        """Keep the parts of the answer, and a reason that is for logs alone."""
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.headers = dict(headers or {})
        self.reason = reason


def invalid(details: Sequence[FieldError], message: str = "The request is not valid.") -> HttpError:
    """Refuse with 400 and one detail for each field that is wrong."""
    return HttpError(400, "VALIDATION_ERROR", message, details=details)


def unauthenticated() -> HttpError:
    """Refuse with 401: nobody says who calls (RFC 6750, section 3.1: no error word then)."""
    return HttpError(
        401,
        "UNAUTHENTICATED",
        "This needs an access token or an API key.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid_token() -> HttpError:
    """Refuse with 401: the token or key is none of ours, or not valid now."""
    return HttpError(
        401,
        "INVALID_TOKEN",
        "The access token or API key is not valid.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def forbidden(message: str) -> HttpError:
    """Refuse with 403: the caller is known and may not."""
    return HttpError(403, "FORBIDDEN", message)


def not_found(what: str) -> HttpError:
    """Refuse with 404; another's campaign is as unknown as one that never was."""
    return HttpError(404, "NOT_FOUND", f"There is no such {what}.")


def too_large(message: str) -> HttpError:
    """Refuse with 413."""
    return HttpError(413, "CONTENT_TOO_LARGE", message)


def unsupported_media_type(*accepted: str) -> HttpError:
    """Refuse with 415 and the media types that would do (RFC 9110, section 15.5.16)."""
    types = ", ".join(accepted)
    return HttpError(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        f"The body must be one of: {types}.",
        headers={"Accept": types},
    )


def unavailable(message: str = "The service cannot do this right now.") -> HttpError:
    """Refuse with 503: a fault of ours that passes."""
    return HttpError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": RETRY_AFTER})

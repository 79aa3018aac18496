"""HTTP errors: a status, a stable code, a message, and one detail per field.

An error never quotes what the client sent, except for the source or type of an event that an API
key may not publish.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RETRY_AFTER = "5"  # seconds
MAX_FIELD_ERRORS = 50


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error of one field; ``field`` is a dotted path such as ``targeting.age_range``."""

    field: str
    message: str


class HttpError(Exception):
    """Raised to respond to a request with an error."""

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
        """Take the parts of the response; ``reason`` is for logs only."""
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.headers = dict(headers or {})
        self.reason = reason


def invalid(details: Sequence[FieldError], message: str = "The request is not valid.") -> HttpError:
    """Build a 400 with one detail per invalid field."""
    return HttpError(400, "VALIDATION_ERROR", message, details=details)


def unauthenticated() -> HttpError:
    """Build a 401 for a request without credentials (no error code: RFC 6750, section 3.1)."""
    return HttpError(
        401,
        "UNAUTHENTICATED",
        "This needs an access token or an API key.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid_token() -> HttpError:
    """Build a 401 for a token or key that is unknown, expired or revoked."""
    return HttpError(
        401,
        "INVALID_TOKEN",
        "The access token or API key is not valid.",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def forbidden(message: str) -> HttpError:
    """Build a 403: the principal is authenticated but lacks permission."""
    return HttpError(403, "FORBIDDEN", message)


def not_found(what: str) -> HttpError:
    """Build a 404; campaigns of other accounts are reported as not found too."""
    return HttpError(404, "NOT_FOUND", f"There is no such {what}.")


def too_large(message: str) -> HttpError:
    """Build a 413."""
    return HttpError(413, "CONTENT_TOO_LARGE", message)


def unsupported_media_type(*accepted: str) -> HttpError:
    """Build a 415 that lists the accepted media types (RFC 9110, section 15.5.16)."""
    types = ", ".join(accepted)
    return HttpError(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        f"The body must be one of: {types}.",
        headers={"Accept": types},
    )


def unavailable(message: str = "The service cannot do this right now.") -> HttpError:
    """Build a 503: a temporary failure on the server side."""
    return HttpError(503, "SERVICE_UNAVAILABLE", message, headers={"Retry-After": RETRY_AFTER})

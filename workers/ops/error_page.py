"""Pages for what was not done: what, why, and what to do, in this order."""

from infra.web.errors import HttpError
from workers.ops.page import Page

TITLES = {
    400: "Not understood",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Changed in the meantime",
    413: "Too large",
    415: "Not understood",
    429: "Too many attempts",
    500: "Something failed here",
    503: "Not available right now",
}
ADVICE = {
    403: "Nothing was changed.",
    404: "Look for it by its id in the field at the top.",
    500: "The log of the console has the details under the request's id.",
    503: "Try again in a few seconds.",
}


def error_page(error: HttpError, request_id: str) -> Page:
    """Build the page of an error."""
    title = TITLES.get(error.status, "Not done")
    context = {
        "status": error.status,
        "message": error.message,
        "advice": ADVICE.get(error.status, ""),
        "retry_after": error.headers.get("Retry-After", ""),
        "request_id": request_id,
    }
    return Page(title, "error.html", context, error.status)

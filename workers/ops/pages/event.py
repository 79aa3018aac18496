"""Event: What happened to this event, and what did it cause."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    return Page(
        "Event", "empty.html", {"lede": "What happened to this event, and what did it cause?"}
    )

"""Events: Where is my event."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Where is my event?"
    return Page("Events", "empty.html", {"lede": lede})

"""Settings: What is it set to, and where does that come from."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    return Page(
        "Settings", "empty.html", {"lede": "What is it set to, and where does that come from?"}
    )

"""System: Is the installation as it should be."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Is the installation as it should be?"
    return Page("System", "empty.html", {"lede": lede})

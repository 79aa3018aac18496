"""Platforms: Can we push, and for whom."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Can we push, and for whom?"
    return Page("Platforms", "empty.html", {"lede": lede})

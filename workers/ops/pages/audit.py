"""Audit: Who did what."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Who did what?"
    return Page("Audit", "empty.html", {"lede": lede})

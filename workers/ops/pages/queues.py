"""Queues and workers: What flows, what waits, who works."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "What flows, what waits, who works?"
    return Page("Queues and workers", "empty.html", {"lede": lede})

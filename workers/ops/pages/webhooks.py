"""Webhook sources: does each platform report, with which secret, and what is not understood."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    return Page(
        "Webhook sources",
        "empty.html",
        {"lede": "Does each platform report, with which secret, and what do we not understand?"},
    )

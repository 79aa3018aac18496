"""Find: Which page has this id."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Which page has this id?"
    return Page("Find", "empty.html", {"lede": lede})

"""Dead letters: What was given up, and is it one cause or many."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    return Page(
        "Dead letters", "empty.html", {"lede": "What was given up, and is it one cause or many?"}
    )

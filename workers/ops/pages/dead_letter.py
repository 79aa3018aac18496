"""Dead letter: Why did it fail, and would it pass now."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    lede = "Why did it fail, and would it pass now?"
    return Page("Dead letter", "empty.html", {"lede": lede})

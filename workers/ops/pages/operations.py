"""Operations: What became of a request that was answered 202."""

from workers.ops.page import Page
from workers.ops.request import ConsoleRequest


async def show(request: ConsoleRequest) -> Page:  # noqa: ARG001 - the page reads nothing yet
    """Show the page."""
    return Page(
        "Operations", "empty.html", {"lede": "What became of a request that was answered 202?"}
    )

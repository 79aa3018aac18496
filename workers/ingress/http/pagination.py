"""Page numbers of lists; the first page is 1."""

from typing import Annotated

from pydantic import Field

from schemas.types import FrozenModel


class PageQuery(FrozenModel):
    """The page of a list that a client asks for, and its length."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 20


def pagination(total: int, page: int, per_page: int) -> dict[str, object]:
    """Build the ``pagination`` of the envelope for a list of ``total`` items."""
    pages = -(-total // per_page)
    return {
        "total": total,
        "page": page,
        "per_page": per_page,
        "total_pages": pages,
        "has_next": page < pages,
        "has_prev": page > 1 and pages > 0,
    }

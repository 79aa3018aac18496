"""What a page's function returns: a page to render, or where the browser goes next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, template and the template's context."""

    title: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class SeeOther:
    """The answer to an act: the browser goes to ``location``, a path of the console (303)."""

    location: str


def is_local_path(path: str) -> bool:
    """Tell whether a path leads to a page of the console, and nowhere else."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and (path.isprintable() and " " not in path)
    )

"""Field names in error responses: as the API spells them, never the client's own text."""

import re
from collections.abc import Sequence

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
UPPER = re.compile(r"(?<=[a-z0-9])([A-Z])")


def field_path(location: Sequence[str | int]) -> str:
    """Return the dotted path of a field in snake case, up to the list that holds it.

    A part that is no identifier is the client's own text and becomes ``?``.
    """
    names: list[str] = []
    for part in location:
        if isinstance(part, int):
            break
        names.append(UPPER.sub(r"_\1", part).lower() if NAME.fullmatch(part) else "?")
    return ".".join(names) or "body"

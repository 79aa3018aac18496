"""The names of fields in refusals: as the API writes them, never the client's own text."""

import re
from collections.abc import Sequence

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
UPPER = re.compile(r"(?<=[a-z0-9])([A-Z])")


def field_path(place: Sequence[str | int]) -> str:
    """Name a field by its dotted path in snake case, up to the list that holds it.

    A name that does not look like one is the client's own text and is not repeated.
    """
    names: list[str] = []
    for part in place:
        if isinstance(part, int):
            break
        names.append(UPPER.sub(r"_\1", part).lower() if NAME.fullmatch(part) else "?")
    return ".".join(names) or "body"

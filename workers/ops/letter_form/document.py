"""The event of a letter as one document, whatever its mode: attributes, and ``data``.

In binary mode the attributes are headers and the body is ``data``; a path is the same in both.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from infra.messaging.content_mode import attributes_of
from infra.messaging.dead_letter_content import DeadLetterContent
from workers.ops.letter_form.rules import FieldPath

ABSENT = object()  # no value, which differs from null


def read_document(content: DeadLetterContent, body: bytes | None = None) -> dict[str, Any] | None:
    """Read the event with this ``body`` or its own; None if that is no JSON object."""
    try:
        found = orjson.loads(content.body if body is None else body)
    except (orjson.JSONDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {**attributes_of(content.headers), "data": found} if content.binary else found


def find_value(document: Mapping[str, Any], path: FieldPath) -> Any:  # noqa: ANN401 - any JSON
    """Find a value; ``ABSENT`` where there is none."""
    place: Any = document
    for name in path:
        if not isinstance(place, dict) or name not in place:
            return ABSENT
        place = place[name]
    return place

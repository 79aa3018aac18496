"""Parses the id of a dead letter as an operator types it: the whole id or a prefix."""

import re
from uuid import UUID

DIGITS = 32
ID = re.compile(r"[0-9a-f-]{1,36}", re.ASCII)


def parse_id_prefix(typed: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last UUID with this prefix; None for text that is no prefix.

    UUIDs sort like their text, so a prefix is a range of the primary key. Upper case counts as
    lower case; either all hyphens are typed or none.
    """
    text = typed.strip().lower()
    digits = text.replace("-", "")
    if not ID.fullmatch(text) or not 0 < len(digits) <= DIGITS:
        return None
    first, last = UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f"))
    if "-" in text and not str(first).startswith(text):
        return None
    return first, last

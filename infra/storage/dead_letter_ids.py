"""The id of a dead letter as a person types it: whole, or its unique beginning."""

import re
from uuid import UUID

DIGITS = 32
ID = re.compile(r"[0-9a-f-]{1,36}", re.ASCII)


def parse_id_prefix(typed: str) -> tuple[UUID, UUID] | None:
    """Tell the first and the last id that begin with what was typed; None where none can.

    Ids are UUIDs and sort as they are written, so a beginning is a range of the primary key.
    Capital letters count as small ones; hyphens may be left out altogether.
    """
    text = typed.strip().lower()
    digits = text.replace("-", "")
    if not ID.fullmatch(text) or not 0 < len(digits) <= DIGITS:
        return None
    first, last = UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f"))
    if "-" in text and not str(first).startswith(text):
        return None
    return first, last

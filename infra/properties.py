"""Who published a message, read from its content header without decoding the rest.

A content header (AMQP 0-9-1, section 4.2.6.1) says in flags which properties follow, and has
them in a fixed order. Short strings begin with their length and the table of headers with
its own, so a walk from the first to the user id passes the others unread. Only a walk finds it:
the same bytes may stand in any property that a publisher writes.
"""

from functools import lru_cache

FLAGS = 12  # class id, weight and size of the body come before them
MORE = 1  # another word of flags follows
CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13
OCTETS = 1 << 12 | 1 << 11  # delivery mode and priority have one each
CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID = 1 << 10, 1 << 9, 1 << 8, 1 << 7
TIMESTAMP, TYPE, USER_ID = 1 << 6, 1 << 5, 1 << 4
TEXTS_BEFORE = (CONTENT_TYPE, CONTENT_ENCODING)
TEXTS_AFTER = (CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID)


def user_id_in(header: bytes) -> str | None:
    """Read the property ``user_id``; None where there is none, or the header is cut off.

    The broker has checked that it is the user of the publishing connection
    (https://www.rabbitmq.com/docs/validated-user-id).
    """
    try:
        start = at = _user_id_at(header)
        end = at + 1 + header[at] if at else 0
    except IndexError:
        return None
    return _text(header[start + 1 : end]) if 0 < end <= len(header) else None


def _user_id_at(header: bytes) -> int:
    """Find where the user id begins; 0 without one. Raises ``IndexError`` when cut off."""
    flags = more = header[FLAGS] << 8 | header[FLAGS + 1]
    if not flags & USER_ID:
        return 0
    at = FLAGS + 2
    while more & MORE:
        more = header[at] << 8 | header[at + 1]
        at += 2
    for text in TEXTS_BEFORE:
        if flags & text:
            at += 1 + header[at]
    if flags & HEADERS:
        at += 4 + int.from_bytes(header[at : at + 4])
    at += (flags & OCTETS).bit_count()
    for text in TEXTS_AFTER:
        if flags & text:
            at += 1 + header[at]
    if flags & TIMESTAMP:
        at += 8
    if flags & TYPE:
        at += 1 + header[at]
    return at


@lru_cache(maxsize=64)
def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")

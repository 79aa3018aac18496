r"""Escapes untrusted text for terminals, logs and tables.

A publisher could use an escape sequence, a line end or a bidirectional override in a name to
fake or hide a row of a list. Characters that are not printable (Unicode categories C and Z
except the space: control and format characters, line separators, lone surrogates) and the few
letters that render as blank are written as escapes: ``\x1b``, ``\u202e``, ``\U000e0041``.
"""

REASON_LENGTH = 2000  # characters, of a stored reason
NAME_LENGTH = 100  # characters, of a name quoted in a reason
# Letters that are printable by their category but render as blank.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
BMP = 0xFFFF
WHITE_SPACE = " \t\r\n"  # RFC 8259, section 2


def escape(text: str, max_length: int | None = None) -> str:
    """Escape what is not printable; returns at most ``max_length`` characters.

    A longer text is cut and ends in its full length. Escaping is idempotent.
    """
    found = text if max_length is None else text[:max_length]
    if not _is_printable(found):
        found = "".join(c if _is_printable(c) else _escape(c) for c in found)
    if max_length is None or len(text) == len(found) or len(text) <= len(found) <= max_length:
        return found
    end = f"... ({len(text)} characters)"
    return found[: max(0, max_length - len(end))] + end


def escape_lines(text: str) -> str:
    """Escape a text of several lines; line ends and tabs are kept."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


def escape_json(document: bytes) -> bytes:
    """Escape what is not printable in a JSON document; parsers read the same values."""
    text = document.decode()
    if _is_printable(text):
        return document
    # Outside of strings the only such characters in JSON are insignificant white space.
    return "".join(
        c if c in WHITE_SPACE or _is_printable(c) else _json_escape(c) for c in text
    ).encode()


def _is_printable(text: str) -> bool:
    return text.isprintable() and BLANK.isdisjoint(text)


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= BMP else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    """Escape a character as JSON does (RFC 8259, section 7): a surrogate pair outside the BMP."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

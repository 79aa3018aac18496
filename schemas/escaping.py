r"""Text that somebody else wrote, made safe to be read on a terminal, in a log or in a table.

A publisher may name a field with an escape sequence, a line end or a bidirectional override,
and so fake a row of a list or hide one. Whatever is not printable (Unicode categories C and Z
but the space: control and format characters, line separators, lone surrogates) and the few
letters that show as nothing are written as escapes: ``\x1b``, ``\u202e``, ``\U000e0041``.
"""

REASON_LENGTH = 2000  # characters of a reason that is kept
NAME_LENGTH = 100  # characters of a name that is quoted in a reason
# Letters that are printable by their category, and blank on every screen.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
BMP = 0xFFFF
WHITE_SPACE = " \t\r\n"  # RFC 8259, section 2


def escape(text: str, most: int | None = None) -> str:
    """Escape what is not printable; what comes out has at most ``most`` characters.

    A text that is longer ends in its length. Escaping again changes nothing.
    """
    found = text if most is None else text[:most]
    if not _is_printable(found):
        found = "".join(c if _is_printable(c) else _escape(c) for c in found)
    if most is None or len(text) == len(found) or len(text) <= len(found) <= most:
        return found
    end = f"... ({len(text)} characters)"
    return found[: max(0, most - len(end))] + end


def escape_lines(text: str) -> str:
    """Escape a text of several lines; line ends and tabs stay as they are."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))


def escape_json(document: bytes) -> bytes:
    """Escape what is not printable in a JSON document, which stays the same to its readers."""
    text = document.decode()
    if _is_printable(text):
        return document
    # Outside its strings JSON has no such character but the white space of its layout.
    return "".join(
        c if c in WHITE_SPACE or _is_printable(c) else _json_escape(c) for c in text
    ).encode()


def _is_printable(text: str) -> bool:
    return text.isprintable() and BLANK.isdisjoint(text)


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - what two hexadecimal digits hold
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= BMP else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    """Write a character as JSON does (RFC 8259, section 7): a surrogate pair beyond the BMP."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

"""What somebody else wrote is escaped wherever people read it."""

import json

import pytest

from schemas.escaping import escape, escape_json, escape_lines

DECEIVING = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\ufeff\u3164\U000e0041",
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]


@pytest.mark.parametrize("character", DECEIVING)
def test_a_character_that_deceives_a_reader_is_escaped(character: str) -> None:
    shown = escape(f"a{character}b")
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown.isascii()
    assert shown.isprintable()
    document = json.dumps({character: character}, ensure_ascii=False).encode()
    assert character not in escape_json(document).decode()
    assert json.loads(escape_json(document)) == {character: character}


def test_what_can_be_read_stays_as_it_is() -> None:
    text = "data.größe: 中文 العربية 🍵 \\x1b"
    assert escape(text) == text
    assert escape_json(text.encode()) == text.encode()


@pytest.mark.parametrize("text", ["x" * 3000, "\x1b" * 3000, "\U000e0041" * 500, "é" * 101])
def test_a_text_is_bounded_and_says_how_long_it_was(text: str) -> None:
    shown = escape(text, 100)
    assert len(shown) == 100
    assert shown.endswith(f"... ({len(text)} characters)")
    assert escape(shown, 100) == shown


def test_a_text_of_several_lines_keeps_its_lines() -> None:
    assert escape_lines("a\n\tb\x1b[2J\r\n") == "a\n\tb\\x1b[2J\\x0d\n"

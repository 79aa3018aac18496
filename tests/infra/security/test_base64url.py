"""Keys as text have one spelling."""

import pytest

from infra.security.base64url import KEY_BYTES, bytes_of, key_of, text_of

RAW = bytes(range(KEY_BYTES))
TEXT = text_of(RAW)


def test_bytes_survive_being_text() -> None:
    assert bytes_of(TEXT) == RAW
    assert bytes_of(text_of(b"")) == b""
    assert len(TEXT) == 43


@pytest.mark.parametrize(
    "text",
    [
        TEXT + "=",
        TEXT + "\n",
        TEXT[:-1] + chr(ord(TEXT[-1]) + 1),  # the same bytes, other spare bits
        "+" + TEXT[1:],
        "A",
        "é",
        "A A",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64url"):
        bytes_of(text)


def test_a_key_may_be_padded_but_not_shorter_or_longer() -> None:
    assert key_of(TEXT + "=", "SOME_KEY") == RAW
    for wrong in ("", TEXT[:-4], TEXT + "AAAA", text_of(RAW + b"x")):
        with pytest.raises(ValueError, match="SOME_KEY must be 32 bytes"):
            key_of(wrong, "SOME_KEY")

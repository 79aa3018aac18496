"""Keys as text have one spelling."""

import pytest

from infra.base64url import KEY_BYTES, decode_base64url, decode_key, encode_base64url

RAW = bytes(range(KEY_BYTES))
TEXT = encode_base64url(RAW)


def test_bytes_survive_being_text() -> None:
    assert decode_base64url(TEXT) == RAW
    assert decode_base64url(encode_base64url(b"")) == b""
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
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


def test_a_key_may_be_padded_but_not_shorter_or_longer() -> None:
    assert decode_key(TEXT + "=", "SOME_KEY") == RAW
    for wrong in ("", TEXT[:-4], TEXT + "AAAA", encode_base64url(RAW + b"x")):
        with pytest.raises(ValueError, match="SOME_KEY must be 32 bytes"):
            decode_key(wrong, "SOME_KEY")

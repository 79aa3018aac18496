"""Encodes bytes and keys as base64url without padding (RFC 4648, section 5)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass, field

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and the public key that belongs to it, both base64url."""

    private: str = field(repr=False)
    public: str


def encode_base64url(raw: bytes) -> str:
    """Encode bytes as base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding; raises ``ValueError`` unless the text is canonical.

    Non-zero unused bits, padding and other characters are rejected, so that no token has two
    spellings.
    """
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        raise ValueError("not base64url") from None
    if encode_base64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def decode_key(text: str, variable: str) -> bytes:
    """Decode a key of 32 bytes; raises ``ValueError``, which names the variable, never the key."""
    try:
        raw = decode_base64url(text.rstrip("="))
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError(f"{variable} must be {KEY_BYTES} bytes in base64url")
    return raw

"""Keys as text: 32 bytes in base64url without padding (RFC 4648, section 5)."""

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
    """Write bytes as base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Read base64url without padding; raises ``ValueError`` for anything but its one spelling.

    One spelling: what differs in unused bits, padding or foreign characters is refused, so
    that a token cannot be written in two ways.
    """
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        raise ValueError("not base64url") from None
    if encode_base64url(raw) != text:
        raise ValueError("not base64url in its one spelling")
    return raw


def decode_key(text: str, variable: str) -> bytes:
    """Read a key of 32 bytes; raises ``ValueError`` that names the variable, never the key."""
    try:
        raw = decode_base64url(text.rstrip("="))
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError(f"{variable} must be {KEY_BYTES} bytes in base64url")
    return raw

"""Decodes the secrets of Standard Webhooks 1.0: shared secrets and Ed25519 keys, in base64.

    whsec_<24 to 64 bytes>    shared secret (v1); the prefix may be left out
    whsk_<32 or 64 bytes>     private key (v1a): the seed, or seed and public key
    whpk_<32 bytes>           public key (v1a)

Source: spec/standard-webhooks.md of github.com/standard-webhooks. Only canonical base64 is read.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection

from nacl.signing import SigningKey, VerifyKey

SECRET_BYTES = range(24, 65)
KEY_BYTES = 32


def decode_base64(text: str, sizes: Collection[int]) -> bytes:
    """Decode canonical, padded base64 of one of ``sizes`` bytes; raises ``ValueError``."""
    raw = b64decode(text, validate=True)
    if len(raw) not in sizes or b64encode(raw).decode() != text:
        message = "not canonical base64 of the right size"
        raise ValueError(message)
    return raw


def decode_shared_secret(secret: str) -> bytes:
    """Decode a ``whsec_`` secret; raises ``ValueError``."""
    return decode_base64(secret.removeprefix("whsec_"), SECRET_BYTES)


def decode_private_key(secret: str) -> SigningKey:
    """Decode a ``whsk_`` key; raises ``ValueError``."""
    prefix, _, text = secret.partition("_")
    raw = decode_base64(text, (KEY_BYTES, 2 * KEY_BYTES))
    key = SigningKey(raw[:KEY_BYTES])
    if prefix != "whsk" or raw[KEY_BYTES:] not in (b"", bytes(key.verify_key)):
        message = "not a whsk_ key, or its two halves do not belong together"
        raise ValueError(message)
    return key


def decode_public_key(secret: str) -> VerifyKey:
    """Decode a ``whpk_`` key, or derive it from a ``whsk_`` key; raises ``ValueError``."""
    if secret.startswith("whpk_"):
        return VerifyKey(decode_base64(secret.removeprefix("whpk_"), (KEY_BYTES,)))
    return decode_private_key(secret).verify_key

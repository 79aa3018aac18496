"""Encrypts credentials on the broker: the ingress encrypts, only the auth worker can decrypt.

A sealed box of libsodium (X25519, XSalsa20-Poly1305, an ephemeral sender key for each box): a
reader of a queue, the event log, a dead letter or a backup sees no credentials, and the
ingress cannot decrypt what it has encrypted. The box contains the type and the id of its
event and its expiry, so a box that is copied into another message is rejected. The text is
padded, so that its length does not reveal that of the password.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import ValidationError

from events.envelope import now as utc_now
from infra.base64url import KeyPair, decode_base64url, decode_key, encode_base64url
from infra.settings import Settings
from schemas.types import FrozenModel

# Requests expire within seconds; registrations are durable and survive an outage.
REQUEST_LIFETIME = timedelta(seconds=30)
REGISTRATION_LIFETIME = timedelta(days=7)
PADDING_BLOCK_BYTES = 256


class InvalidBox(Exception):
    """A box that cannot be decrypted, was made for another message, or has expired."""


class BoxContent(FrozenModel):
    """The content of a box; ``exp`` is in seconds since 1970."""

    purpose: str
    request_id: str
    exp: float
    payload: dict[str, Any]


def make_encryption_keys() -> KeyPair:
    """Make an X25519 key pair, in the format of the settings."""
    private = PrivateKey.generate()
    return KeyPair(encode_base64url(bytes(private)), encode_base64url(bytes(private.public_key)))


def encrypt_payload(
    public_key: str,
    payload: Mapping[str, Any],
    *,
    purpose: str,
    request_id: str,
    lifetime: timedelta = REQUEST_LIFETIME,
) -> str:
    """Encrypt a JSON object for the event of type ``purpose`` with the id ``request_id``.

    Returns base64url. Raises ``ValueError`` when the key is malformed.
    """
    content = BoxContent(
        purpose=purpose,
        request_id=request_id,
        exp=(utc_now() + lifetime).timestamp(),
        payload=dict(payload),
    )
    text = content.model_dump_json().encode()
    padded = text.ljust(-(-len(text) // PADDING_BLOCK_BYTES) * PADDING_BLOCK_BYTES)
    key = PublicKey(decode_key(public_key, "SEAL_PUBLIC_KEY"))
    return encode_base64url(SealedBox(key).encrypt(padded))


class PayloadDecryptor:
    """Decrypts boxes with any of the private keys of the auth worker."""

    def __init__(self, settings: Settings) -> None:
        """Parse the keys; raises ``ValueError`` when SEAL_PRIVATE_KEY is missing or malformed."""
        secret = settings.seal_private_key
        texts = (secret.get_secret_value() if secret else "").split() or [""]
        keys = [PrivateKey(decode_key(text, "SEAL_PRIVATE_KEY")) for text in texts]
        self._boxes = [SealedBox(key) for key in keys]

    def decrypt(self, box: str, *, purpose: str, request_id: str, now: datetime) -> dict[str, Any]:
        """Decrypt what ``encrypt_payload`` made for this event; raises ``InvalidBox``."""
        try:
            content = BoxContent.model_validate_json(self._decrypt(box))
        except ValidationError:
            raise InvalidBox("the box has no valid content") from None
        if (content.purpose, content.request_id) != (purpose, request_id):
            raise InvalidBox("the box was made for another message")
        if content.exp <= now.timestamp():
            raise InvalidBox("the box has expired")
        return content.payload

    def _decrypt(self, text: str) -> bytes:
        for box in self._boxes:
            try:
                return box.decrypt(decode_base64url(text))
            except (CryptoError, ValueError):
                continue
        raise InvalidBox("the box cannot be decrypted")

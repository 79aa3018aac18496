"""Secrets at rest: encrypted in the database, with keys that only some processes hold.

AES-256-GCM (NIST SP 800-38D) under a fresh nonce of 96 bits for each text. What a text is
about is authenticated with it, so that a sealed text that is moved to another row does not
open. The id of the key, a hash of it, stands beside the text: to change the key, put a new
one first in ``VAULT_KEYS``; what the old one has sealed is sealed anew when the auth worker
comes across it (``infra.storage.platform_accounts``), and then the old one may go.
"""

import secrets
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.base64url import decode_key
from infra.settings import Settings

NONCE_BYTES = 12
KEY_ID_DIGITS = 16


class DecryptionFailed(Exception):
    """A sealed text does not open: its key is gone, or it was altered or moved."""


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A nonce and an encrypted text, and the id of the key that opens it."""

    key_id: str
    body: bytes = field(repr=False)


class Encryptor:
    """Seals with the newest key and opens with any."""

    def __init__(self, settings: Settings) -> None:
        """Take the keys; raises ``ValueError`` when ``VAULT_KEYS`` is missing or malformed."""
        given = settings.vault_keys
        texts = (given.get_secret_value() if given else "").split() or [""]
        keys = [decode_key(text, "VAULT_KEYS") for text in texts]
        self._keys = {_derive_key_id(key): AESGCM(key) for key in keys}
        self.key_id, *retired_key_ids = self._keys
        self.retired_key_ids = tuple(retired_key_ids)

    def encrypt(self, text: bytes, associated_data: str) -> Ciphertext:
        """Encrypt a text; ``associated_data`` has to be said again to open it."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = self._keys[self.key_id].encrypt(nonce, text, associated_data.encode())
        return Ciphertext(self.key_id, nonce + body)

    def decrypt(self, sealed: Ciphertext, associated_data: str) -> bytes:
        """Decrypt; raises ``DecryptionFailed``."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise DecryptionFailed(f"VAULT_KEYS has no key {sealed.key_id}")
        nonce, body = sealed.body[:NONCE_BYTES], sealed.body[NONCE_BYTES:]
        try:
            return key.decrypt(nonce, body, associated_data.encode())
        except (InvalidTag, ValueError):
            raise DecryptionFailed("the sealed text was altered or belongs elsewhere") from None


def _derive_key_id(key: bytes) -> str:
    return sha256(b"adrelay vault key\0" + key).hexdigest()[:KEY_ID_DIGITS]

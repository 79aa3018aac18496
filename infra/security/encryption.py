"""Encrypts secrets at rest, with keys that only some processes hold.

AES-256-GCM (NIST SP 800-38D) with a fresh nonce of 96 bits for each text. The associated data
names the row, so a ciphertext that is moved to another row cannot be decrypted. The id of
the key, a hash of it, is stored beside the ciphertext: to change the key, put a new one first in
``VAULT_KEYS``. The auth worker re-encrypts what the retired key has encrypted
(``handlers.auth.token_refresh``); then the retired key can be removed.
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
    """Decryption failed: unknown key, altered ciphertext or wrong associated data."""


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A nonce and an encrypted text, and the id of the key that encrypted it."""

    key_id: str
    body: bytes = field(repr=False)


class Encryptor:
    """Encrypts with the newest key and decrypts with any."""

    def __init__(self, settings: Settings) -> None:
        """Parse the keys; raises ``ValueError`` when ``VAULT_KEYS`` is missing or malformed."""
        given = settings.vault_keys
        texts = (given.get_secret_value() if given else "").split() or [""]
        keys = [decode_key(text, "VAULT_KEYS") for text in texts]
        self._keys = {_derive_key_id(key): AESGCM(key) for key in keys}
        self.key_id, *retired_key_ids = self._keys
        self.retired_key_ids = tuple(retired_key_ids)

    def encrypt(self, text: bytes, associated_data: str) -> Ciphertext:
        """Encrypt a text; decryption needs the same ``associated_data``."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = self._keys[self.key_id].encrypt(nonce, text, associated_data.encode())
        return Ciphertext(self.key_id, nonce + body)

    def decrypt(self, ciphertext: Ciphertext, associated_data: str) -> bytes:
        """Decrypt; raises ``DecryptionFailed``."""
        key = self._keys.get(ciphertext.key_id)
        if key is None:
            raise DecryptionFailed(f"VAULT_KEYS has no key {ciphertext.key_id}")
        nonce, body = ciphertext.body[:NONCE_BYTES], ciphertext.body[NONCE_BYTES:]
        try:
            return key.decrypt(nonce, body, associated_data.encode())
        except (InvalidTag, ValueError):
            raise DecryptionFailed("the ciphertext was altered or belongs to another row") from None


def _derive_key_id(key: bytes) -> str:
    return sha256(b"adrelay vault key\0" + key).hexdigest()[:KEY_ID_DIGITS]

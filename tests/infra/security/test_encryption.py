"""Tests encryption at rest: what is decrypted, what is rejected, and how keys change."""

import pytest
from pydantic import SecretStr

from infra.base64url import encode_base64url
from infra.security.encryption import NONCE_BYTES, Ciphertext, DecryptionFailed, Encryptor
from infra.settings import Settings

OLD, NEW = encode_base64url(b"o" * 32), encode_base64url(b"n" * 32)
ASSOCIATED_DATA = "platform_accounts 1 claude"


def encryptor(*keys: str) -> Encryptor:
    return Encryptor(Settings.model_validate({"vault_keys": SecretStr(" ".join(keys))}))


def test_a_ciphertext_is_decrypted_and_reveals_nothing() -> None:
    ciphertext = encryptor(NEW).encrypt(b"the token", ASSOCIATED_DATA)
    assert encryptor(NEW).decrypt(ciphertext, ASSOCIATED_DATA) == b"the token"
    assert b"the token" not in ciphertext.body
    assert "body" not in repr(ciphertext)


def test_the_same_text_has_another_ciphertext_each_time() -> None:
    ciphertext = [encryptor(NEW).encrypt(b"the token", ASSOCIATED_DATA).body for _ in range(100)]
    assert len({body[:NONCE_BYTES] for body in ciphertext}) == 100
    assert len(set(ciphertext)) == 100


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    before = encryptor(OLD).encrypt(b"the token", ASSOCIATED_DATA)
    changed = encryptor(NEW, OLD)
    assert changed.decrypt(before, ASSOCIATED_DATA) == b"the token"
    after = changed.encrypt(b"the token", ASSOCIATED_DATA)
    assert after.key_id == changed.key_id == encryptor(NEW).key_id != before.key_id
    assert changed.retired_key_ids == (before.key_id,)
    with pytest.raises(DecryptionFailed, match=before.key_id):
        encryptor(NEW).decrypt(before, ASSOCIATED_DATA)


def test_a_ciphertext_that_was_altered_or_moved_is_rejected() -> None:
    ciphertext = encryptor(NEW, OLD).encrypt(b"the token", ASSOCIATED_DATA)
    for place in range(len(ciphertext.body)):
        body = bytearray(ciphertext.body)
        body[place] ^= 1
        with pytest.raises(DecryptionFailed):
            encryptor(NEW).decrypt(Ciphertext(ciphertext.key_id, bytes(body)), ASSOCIATED_DATA)
    for length in (0, NONCE_BYTES, len(ciphertext.body) - 1):
        with pytest.raises(DecryptionFailed):
            encryptor(NEW).decrypt(
                Ciphertext(ciphertext.key_id, ciphertext.body[:length]), ASSOCIATED_DATA
            )
    with pytest.raises(DecryptionFailed):
        encryptor(NEW).decrypt(ciphertext, "platform_accounts 2 claude")
    with pytest.raises(DecryptionFailed):
        encryptor(NEW, OLD).decrypt(
            Ciphertext(encryptor(OLD).key_id, ciphertext.body), ASSOCIATED_DATA
        )


def test_a_key_id_does_not_reveal_the_key() -> None:
    assert encryptor(NEW).key_id not in NEW
    assert len(encryptor(NEW).key_id) == 16


@pytest.mark.parametrize("keys", ["", "too-short", f"{NEW} too-short", encode_base64url(b"x" * 31)])
def test_an_invalid_key_is_reported_by_its_variable(keys: str) -> None:
    with pytest.raises(ValueError, match="vault_keys") as refused:
        encryptor(keys)
    assert "too-short" not in str(refused.value)
    with pytest.raises(ValueError, match="VAULT_KEYS"):
        Encryptor(Settings())

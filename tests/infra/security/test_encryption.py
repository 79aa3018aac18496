"""Secrets at rest: what opens, what does not, and how keys change."""

import pytest
from pydantic import SecretStr

from infra.base64url import encode_base64url
from infra.security.encryption import NONCE_BYTES, Ciphertext, DecryptionFailed, Encryptor
from infra.settings import Settings

OLD, NEW = encode_base64url(b"o" * 32), encode_base64url(b"n" * 32)
ABOUT = "platform_accounts 1 claude"


def vault(*keys: str) -> Encryptor:
    return Encryptor(Settings.model_validate({"vault_keys": SecretStr(" ".join(keys))}))


def test_a_sealed_text_opens_and_shows_nothing() -> None:
    sealed = vault(NEW).encrypt(b"the token", ABOUT)
    assert vault(NEW).decrypt(sealed, ABOUT) == b"the token"
    assert b"the token" not in sealed.body
    assert "body" not in repr(sealed)


def test_the_same_text_is_never_sealed_alike() -> None:
    sealed = [vault(NEW).encrypt(b"the token", ABOUT).body for _ in range(100)]
    assert len({body[:NONCE_BYTES] for body in sealed}) == 100
    assert len(set(sealed)) == 100


def test_the_first_key_seals_and_every_key_opens() -> None:
    before = vault(OLD).encrypt(b"the token", ABOUT)
    changed = vault(NEW, OLD)
    assert changed.decrypt(before, ABOUT) == b"the token"
    after = changed.encrypt(b"the token", ABOUT)
    assert after.key_id == changed.key_id == vault(NEW).key_id != before.key_id
    assert changed.retired_key_ids == (before.key_id,)
    with pytest.raises(DecryptionFailed, match=before.key_id):
        vault(NEW).decrypt(before, ABOUT)


def test_a_sealed_text_that_was_altered_or_moved_does_not_open() -> None:
    sealed = vault(NEW, OLD).encrypt(b"the token", ABOUT)
    for place in range(len(sealed.body)):
        body = bytearray(sealed.body)
        body[place] ^= 1
        with pytest.raises(DecryptionFailed):
            vault(NEW).decrypt(Ciphertext(sealed.key_id, bytes(body)), ABOUT)
    for length in (0, NONCE_BYTES, len(sealed.body) - 1):
        with pytest.raises(DecryptionFailed):
            vault(NEW).decrypt(Ciphertext(sealed.key_id, sealed.body[:length]), ABOUT)
    with pytest.raises(DecryptionFailed):
        vault(NEW).decrypt(sealed, "platform_accounts 2 claude")
    with pytest.raises(DecryptionFailed):
        vault(NEW, OLD).decrypt(Ciphertext(vault(OLD).key_id, sealed.body), ABOUT)


def test_a_key_is_not_told_by_its_id() -> None:
    assert vault(NEW).key_id not in NEW
    assert len(vault(NEW).key_id) == 16


@pytest.mark.parametrize("keys", ["", "too-short", f"{NEW} too-short", encode_base64url(b"x" * 31)])
def test_a_vault_without_good_keys_is_refused_by_name(keys: str) -> None:
    with pytest.raises(ValueError, match="vault_keys") as refused:
        vault(keys)
    assert "too-short" not in str(refused.value)
    with pytest.raises(ValueError, match="VAULT_KEYS"):
        Encryptor(Settings())

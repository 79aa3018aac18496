"""Tests that a box is decrypted only for its own message, before it expires, with the right key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nacl.public import PublicKey, SealedBox
from pydantic import SecretStr

from infra.base64url import decode_base64url, encode_base64url
from infra.security.sealed_box import (
    PADDING_BLOCK_BYTES,
    InvalidBox,
    PayloadDecryptor,
    encrypt_payload,
    make_encryption_keys,
)
from infra.settings import Settings

KEYS = make_encryption_keys()
OLD = make_encryption_keys()
SECRET = {"email": "ada@example.com", "password": "a sealed password"}


def encrypt_box(payload: dict[str, Any] | None = None, **changes: Any) -> str:
    return encrypt_payload(
        KEYS.public,
        SECRET if payload is None else payload,
        **{"purpose": "login.requested.v1", "request_id": "r1", **changes},
    )


def decrypt(box: str, private_keys: str = KEYS.private, **changes: Any) -> dict[str, Any]:
    expected = {"purpose": "login.requested.v1", "request_id": "r1", "now": datetime.now(UTC)}
    settings = Settings.model_construct(seal_private_key=SecretStr(private_keys))
    return PayloadDecryptor(settings).decrypt(box, **{**expected, **changes})


def test_a_box_is_decrypted_for_its_own_message() -> None:
    assert decrypt(encrypt_box()) == SECRET


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": "r2"},
        {"purpose": "registration.requested.v1"},
        {"now": datetime.now(UTC) + timedelta(days=1)},
        {"private_keys": OLD.private},
    ],
    ids=["another message", "another event type", "too late", "another key"],
)
def test_a_copied_box_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidBox):
        decrypt(encrypt_box(), **changes)


def test_the_public_key_decrypts_nothing() -> None:
    with pytest.raises(InvalidBox):
        decrypt(encrypt_box(), private_keys=KEYS.public)


@pytest.mark.parametrize("box", ["", "AAAA", "not base64!", encode_base64url(bytes(300)), "é"])
def test_garbage_is_rejected(box: str) -> None:
    with pytest.raises(InvalidBox):
        decrypt(box)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 5000, b"\xff"])
def test_a_box_that_holds_something_else_is_refused(text: bytes) -> None:
    box = SealedBox(PublicKey(decode_base64url(KEYS.public))).encrypt(text)
    with pytest.raises(InvalidBox):
        decrypt(encode_base64url(box))


def test_an_altered_box_is_rejected() -> None:
    raw = bytearray(decode_base64url(encrypt_box()))
    raw[-1] ^= 1
    with pytest.raises(InvalidBox):
        decrypt(encode_base64url(bytes(raw)))


def test_a_box_for_the_previous_key_is_decrypted_while_that_key_is_configured() -> None:
    box = encrypt_payload(OLD.public, SECRET, purpose="login.requested.v1", request_id="r1")
    assert decrypt(box, private_keys=f"{KEYS.private} {OLD.private}") == SECRET


def test_the_length_of_a_box_does_not_reveal_that_of_the_password() -> None:
    assert len(encrypt_box({"password": "p" * 12})) == len(encrypt_box({"password": "p" * 90}))


def test_two_boxes_of_the_same_secret_have_nothing_in_common() -> None:
    one, two = encrypt_box(), encrypt_box()
    assert one[:20] != two[:20]
    assert "sealed" not in decode_base64url(one).decode("latin-1")


def test_the_largest_credentials_fit_into_an_event() -> None:
    box = encrypt_box({"email": "e" * 254, "password": "\U0001f511" * 128})
    assert len(box) <= 4096
    assert (len(decode_base64url(box)) - 48) % PADDING_BLOCK_BYTES == 0


@pytest.mark.parametrize("key", ["", "short", "é" * 43])
def test_a_malformed_key_is_named_but_not_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="SEAL_PRIVATE_KEY") as refusal:
        decrypt(encrypt_box(), private_keys=key)
    assert not key or key not in str(refusal.value)
    with pytest.raises(ValueError, match="SEAL_PUBLIC_KEY"):
        encrypt_payload(key, SECRET, purpose="login.requested.v1", request_id="r1")

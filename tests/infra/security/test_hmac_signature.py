"""Tests HMAC-SHA256 with published vectors, and the strict reading of hex signatures."""

import pytest
from multidict import CIMultiDict

from infra.security.hmac_signature import (
    InvalidSignature,
    hmac_sha256,
    read_signature_headers,
    sign_body,
    verify_body,
)

JEFE = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
HELLO = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_rfc_4231_case_2_is_met() -> None:
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == JEFE


def test_a_published_signature_of_a_body_is_met() -> None:
    assert sign_body("It's a Secret to Everybody", b"Hello, World!") == HELLO


@pytest.mark.parametrize(
    ("secrets", "slot"),
    [(["Jefe"], 1), (["old", "Jefe"], 2), (["Jefe", "new"], 1), (["", "Jefe"], 2)],
)
def test_any_of_our_secrets_may_fit_and_its_slot_is_told(secrets: list[str], slot: int) -> None:
    assert verify_body(JEFE, b"what do ya want for nothing?", secrets) == slot


@pytest.mark.parametrize(
    ("signature", "secrets"),
    [
        (JEFE, []),
        (JEFE, ["other"]),
        (JEFE.upper(), ["Jefe"]),
        (f"sha256={JEFE}", ["Jefe"]),
        (f"{JEFE}\n", ["Jefe"]),
        (f" {JEFE}", ["Jefe"]),
        (JEFE[:-1], ["Jefe"]),
        (JEFE[:-1] + "g", ["Jefe"]),
        ("", ["Jefe"]),
        (sign_body("", b"what do ya want for nothing?"), [""]),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(signature: str, secrets: list[str]) -> None:
    with pytest.raises(InvalidSignature) as refusal:
        verify_body(signature, b"what do ya want for nothing?", secrets)
    assert "Jefe" not in str(refusal.value)


def test_headers_are_found_whatever_their_case_and_only_once() -> None:
    headers = CIMultiDict([("X-One", "1"), ("x-two", "2"), ("X-Twice", "3"), ("x-twice", "4")])
    assert read_signature_headers(headers, "x-two", "x-one") == ["2", "1"]
    for name in ("x-twice", "x-none"):
        with pytest.raises(InvalidSignature, match=name):
            read_signature_headers(headers, "x-one", name)

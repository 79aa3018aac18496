"""Tests that a mailbox has one normalised address."""

import pytest

from infra.security.email_address import InvalidEmail, normalise_email


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada@Example.COM", "ada@example.com"),
        ("ada+ads@example.com", "ada+ads@example.com"),
        ("Zoe\u0308@example.com", "zo\u00eb@example.com"),
        ("ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
        ("ada@staging.test", "ada@staging.test"),
    ],
)
def test_an_address_is_stored_in_its_one_spelling(typed: str, stored: str) -> None:
    assert normalise_email(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "a b@example.com",
        "ada@exa mple.com",
        "ada@example.com\n",
        "ada@example.com\x00",
        "Ada <ada@example.com>",
        "ada@[127.0.0.1]",
        "a" * 250 + "@example.com",
    ],
)
def test_what_is_no_address_is_refused_in_words(typed: str) -> None:
    with pytest.raises(InvalidEmail) as refusal:
        normalise_email(typed)
    assert len(str(refusal.value)) > 10

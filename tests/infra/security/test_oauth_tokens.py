"""Tests the schedule of token refreshes as a table, and that tokens are bound to their row."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from infra.security.encryption import DecryptionFailed, Encryptor
from infra.security.oauth_tokens import (
    OAuthTokens,
    build_tokens,
    decrypt_tokens,
    encrypt_tokens,
    schedule_refresh,
)
from infra.settings import Settings
from schemas.oauth import TokenResponse

BEGAN = datetime(2026, 11, 22, 8, tzinfo=UTC)


def grant(**fields: object) -> TokenResponse:
    return TokenResponse.model_validate({"access_token": "a", "token_type": "bearer", **fields})


@pytest.mark.parametrize(
    ("life", "refresh", "expires", "due"),
    [
        (3600, "r", 3600, 3300),  # five minutes ahead
        (86_400, "r", 86_400, 86_100),
        (100, "r", 100, 80),  # a short life: a fifth of it
        (3, "r", 3, 5),  # no oftener than this
        (0, "r", 0, 5),
        (3600, None, 3600, 3600),  # nothing can be done before its end
        (None, "r", None, None),  # the platform does not say; its 401 will
    ],
)
def test_a_token_is_due_ahead_of_its_end(
    life: int | None, refresh: str | None, expires: int | None, due: int | None
) -> None:
    times = schedule_refresh(grant(expires_in=life), OAuthTokens("a", refresh), BEGAN)
    wanted = [None if s is None else BEGAN + timedelta(seconds=s) for s in (expires, due)]
    assert [times.expires_at, times.due_at] == wanted


def test_a_refresh_token_stays_until_there_is_another() -> None:
    first = build_tokens(grant(refresh_token="r1"))
    assert build_tokens(grant(), before=first).refresh == "r1"
    assert build_tokens(grant(refresh_token="r2"), before=first).refresh == "r2"
    assert build_tokens(grant()).refresh is None


def test_what_is_revoked_is_the_refresh_token_where_there_is_one() -> None:
    assert (OAuthTokens("a", "r").revocation_token, OAuthTokens("a", None).revocation_token) == (
        "r",
        "a",
    )


def test_tokens_are_decrypted_only_for_their_owner_and_platform(settings: Settings) -> None:
    encryptor, user_id = Encryptor(settings), uuid4()
    tokens = OAuthTokens("access", "refresh")
    sealed = encrypt_tokens(encryptor, user_id, "claude", tokens)
    assert decrypt_tokens(encryptor, user_id, "claude", sealed) == tokens
    for owner, platform in ((uuid4(), "claude"), (user_id, "gemini")):
        with pytest.raises(DecryptionFailed):
            decrypt_tokens(encryptor, owner, platform, sealed)
    for text in (b"", b"[]", b"{}", b'{"access": "a"}', b"\xff"):
        odd = encryptor.encrypt(text, f"platform_accounts {user_id} claude")
        with pytest.raises(DecryptionFailed):
            decrypt_tokens(encryptor, user_id, "claude", odd)
    assert "access" not in repr(tokens).replace("access=", "")


def test_a_grant_of_another_kind_of_token_is_none() -> None:
    with pytest.raises(ValueError, match="token_type"):
        grant(token_type="mac")

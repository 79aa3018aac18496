"""The rules of environment variables: each is checked when a process starts.

A rule raises ``ValueError`` with what must be, in words, and never with what is: a value may be
a secret. None of them asks a server anything.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from infra.base64url import decode_key
from infra.security import standard_webhooks

DAY = 86_400  # seconds
NEAR = 0.9  # of 1: names so much alike are one name and a misspelling of it
OURS = "ADRELAY_"
# What begins with our prefix and belongs to the tools of a checkout.
TOOLS = frozenset({"ADRELAY_TEST_SERVICES", "ADRELAY_TEST_SESSION", "ADRELAY_SCREENSHOTS"})
FORM = {"chatgpt": standard_webhooks.V1, "gemini": standard_webhooks.V1A}

T = TypeVar("T", str, SecretStr)

Seconds = Annotated[float, Field(gt=0, le=DAY, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024, le=512 * 1024 * 1024)]


def text_of(value: str | SecretStr) -> str:
    """Give the text of a setting, secret or not."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def check_url(text: str, schemes: Collection[str]) -> None:
    """Raise ``ValueError`` unless a text is a URL with one of these schemes and a host."""
    named = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(text)
        has_port_0 = parts.port == 0
    except ValueError:
        raise ValueError("must be a URL with a port from 1 to 65535") from None
    if parts.scheme not in schemes or not (parts.hostname or parts.scheme.startswith("postgres")):
        raise ValueError(f"must be a URL that begins with {named} and names a host")
    if has_port_0 or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be a URL without blanks, with a port from 1 to 65535")


def _broker(value: T) -> T:
    if not text_of(value).split():
        raise ValueError("must name a broker")
    for url in text_of(value).split():
        check_url(url, ("amqp", "amqps"))
    return value


def _database(value: T) -> T:
    check_url(text_of(value), ("postgresql", "postgres", "postgresql+asyncpg"))
    return value


def _redis(value: T) -> T:
    check_url(text_of(value), ("redis", "rediss"))
    return value


def _http(value: T) -> T:
    check_url(text_of(value), ("http", "https"))
    return value


def _http_or_none(value: T) -> T:
    return _http(value) if text_of(value) else value


def _key(value: T) -> T:
    decode_key(text_of(value), "it")
    return value


def _keys(value: T) -> T:
    if not text_of(value).split():
        raise ValueError("must be keys of 32 bytes in base64url, separated by spaces")
    for key in text_of(value).split():
        decode_key(key, "each of them")
    return value


def _public_keys(value: tuple[str, ...]) -> tuple[str, ...]:
    for key in value:
        decode_key(key, "each of them")
    return value


BrokerUrls = Annotated[SecretStr, AfterValidator(_broker)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
SecretHttpUrl = Annotated[SecretStr, AfterValidator(_http)]
HttpUrl = Annotated[str, AfterValidator(_http)]
HttpUrlOrNone = Annotated[str, AfterValidator(_http_or_none)]
Key = Annotated[str, AfterValidator(_key)]
SecretKey = Annotated[SecretStr, AfterValidator(_key)]
SecretKeys = Annotated[SecretStr, AfterValidator(_keys)]
PublicKeys = Annotated[tuple[str, ...], AfterValidator(_public_keys)]


def check_webhook_secrets(source: str, value: SecretStr) -> SecretStr:
    """Raise ``ValueError`` for a secret that the source's signatures cannot be checked with."""
    scheme = FORM.get(source)
    for secret in value.get_secret_value().split() if scheme else ():
        try:
            scheme.verifier(secret)  # type: ignore[union-attr]
        except ValueError:
            raise ValueError(f"each of them must be {WORDS[source]}") from None
    return value


WORDS = {
    "chatgpt": "whsec_ and 24 to 64 bytes in base64",
    "gemini": "whpk_ (or whsk_) and an Ed25519 key in base64",
}


def misspelt(names: Collection[str], known: Mapping[str, object]) -> str | None:
    """Name a variable that is meant for us and none of ours, with the one that it is near."""
    ours = sorted(name.upper() for name in known)
    for name in sorted(set(names) - set(ours) - TOOLS):
        near = get_close_matches(name, ours, n=1, cutoff=NEAR)
        if near:
            return f"{name}: is no setting; {near[0]} is"
        if name.startswith(OURS):
            return f"{name}: is no setting of Adrelay"
    return None

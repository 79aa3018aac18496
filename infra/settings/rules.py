"""The rules of environment variables, which are checked when a process starts.

A rule raises ``ValueError`` with a sentence about what is allowed, and never with the value, which
may be a secret. No rule calls a server.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from infra.base64url import decode_key
from infra.webhook_secrets import decode_public_key, decode_shared_secret

DAY = 86_400  # seconds
VERIFY_FULL = "verify-full"
SSL_MODES = ("disable", "prefer", "require", VERIFY_FULL)  # of Postgres
SSL_FILES = {"sslrootcert", "sslcert", "sslkey"}
MISSPELT_SIMILARITY = 0.9  # of 1: from here on one name counts as a misspelling of the other
PREFIX = "ADRELAY_"
OTEL_PREFIX = "OTEL_"  # of variables of OpenTelemetry, most of which its SDK reads
# Variables with this prefix that the tools of a checkout read.
TOOL_VARIABLES = frozenset({"ADRELAY_TEST_SERVICES", "ADRELAY_TEST_SESSION", "ADRELAY_SCREENSHOTS"})
# How to decode the webhook secrets of a source, and the rule in words.
WEBHOOK_SECRETS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "chatgpt": (decode_shared_secret, "whsec_ and 24 to 64 bytes in base64"),
    "gemini": (decode_public_key, "whpk_ (or whsk_) and an Ed25519 key in base64"),
}

T = TypeVar("T", str, SecretStr)

# Units of a duration, in seconds (RabbitMQ manual, "Streams": a year has 365 days, a month 30).
DURATION_UNITS: Mapping[str, int] = {
    "Y": 365 * DAY,
    "M": 30 * DAY,
    "D": DAY,
    "h": 3600,
    "m": 60,
    "s": 1,
}


@dataclass(frozen=True, slots=True)
class SettingUnit:
    """The unit of a setting, in its annotation."""

    name: str


Seconds = Annotated[float, Field(gt=0, le=DAY, allow_inf_nan=False), SettingUnit("seconds")]
Bytes = Annotated[int, Field(ge=1024, le=512 * 1024 * 1024), SettingUnit("bytes")]


def to_text(value: str | SecretStr) -> str:
    """Return the text of a setting, secret or not."""
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
    if not to_text(value).split():
        raise ValueError("must name a broker")
    for url in to_text(value).split():
        check_url(url, ("amqp", "amqps"))
    return value


def _database(value: T) -> T:
    check_url(to_text(value), ("postgresql", "postgres", "postgresql+asyncpg"))
    options: dict[str, list[str]] = parse_qs(urlsplit(to_text(value)).query, keep_blank_values=True)
    if not SSL_FILES.isdisjoint(options):
        raise ValueError("must name no files of TLS: DATABASE_CA_FILE and its like do")
    if not {*options.get("sslmode", ()), *options.get("ssl", ())}.issubset(SSL_MODES):
        raise ValueError(f"sslmode must be one of {', '.join(SSL_MODES)}")
    return value


def _redis(value: T) -> T:
    check_url(to_text(value), ("redis", "rediss"))
    return value


def _http(value: T) -> T:
    check_url(to_text(value), ("http", "https"))
    return value


def _http_or_none(value: T) -> T:
    return _http(value) if to_text(value) else value


def _key(value: T) -> T:
    decode_key(to_text(value), "it")
    return value


def _keys(value: T) -> T:
    if not to_text(value).split():
        raise ValueError("must be keys of 32 bytes in base64url, separated by spaces")
    for key in to_text(value).split():
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
EncodedKey = Annotated[str, AfterValidator(_key)]
SecretKey = Annotated[SecretStr, AfterValidator(_key)]
SecretKeys = Annotated[SecretStr, AfterValidator(_keys)]
PublicKeys = Annotated[tuple[str, ...], AfterValidator(_public_keys)]


def parse_duration(text: str) -> timedelta:
    """Parse a duration as RabbitMQ writes it, such as ``7D`` or ``12h``; raises ``ValueError``."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and unit in DURATION_UNITS and int(number)):
        raise ValueError("must be a number from 1 on and one of Y, M, D, h, m, s, such as 7D")
    try:
        return timedelta(seconds=int(number) * DURATION_UNITS[unit])
    except OverflowError:
        raise ValueError("must be less than a million years") from None


def _duration(value: str) -> str:
    parse_duration(value)
    return value


Duration = Annotated[str, AfterValidator(_duration)]


def check_process_urls(value: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ``ValueError`` unless each text is a process' name and the address of its probes."""
    for pair in value:
        name, _, url = pair.partition("=")
        check_url(url, ("http",))
        parts = urlsplit(url)
        if not name.isidentifier() or parts.path not in ("", "/") or parts.username is not None:
            raise ValueError("each of them must be a name and an address: web=http://web:8080")
    return value


def check_webhook_secrets(source: str, value: SecretStr) -> SecretStr:
    """Raise ``ValueError`` for a secret that the source's signatures cannot be verified with."""
    if source in WEBHOOK_SECRETS:
        decode, form = WEBHOOK_SECRETS[source]
        for secret in value.get_secret_value().split():
            try:
                decode(secret)
            except ValueError:
                raise ValueError(f"each of them must be {form}") from None
    return value


def split_words(value: object) -> object:
    """Split a text at its spaces; another value stays as it is."""
    return tuple(value.split()) if isinstance(value, str) else value


def find_misspelt(names: Collection[str], fields: Mapping[str, object]) -> str | None:
    """Find a variable that looks like a setting and is none; returns a sentence about it."""
    known = sorted(name.upper() for name in fields)
    for name in sorted(set(names) - set(known) - TOOL_VARIABLES):
        if name.startswith(OTEL_PREFIX):
            continue
        near = get_close_matches(name, known, n=1, cutoff=MISSPELT_SIMILARITY)
        if near:
            return f"{name}: is no setting; {near[0]} is"
        if name.startswith(PREFIX):
            nearest = get_close_matches(name, known, n=1, cutoff=0)
            return f"{name}: is no setting of Adrelay; the nearest is {nearest[0]}"
    return None

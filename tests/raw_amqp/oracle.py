"""What has to become of a message, told from what was written: the tests' own model.

It knows the broker's rules, the CloudEvents AMQP binding (structured and binary mode) and what
Adrelay promises, and no code of the product. A message comes out as one of

    refused      the broker closes the channel or the connection
    an effect    in the one queue that its key names
    dead         with the step that gave it up and the code, one of those that are named
    either       an effect or a dead letter, never both and never neither

*Either* is where nobody can know: a message that expires within ten minutes may be read before,
and CloudEvents leaves open what attributes mean whose type or name it does not allow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tests.raw_amqp.grammar import FRAME_MAX, FRAMING, Properties, Publish, Table, Value, string

EXCHANGE = b"adrelay.events"
METRICS, APPLY = "metrics.record", "campaigns.apply"
ROUTES = {
    b"campaign.metrics_reported.v1": METRICS,
    b"campaign.metrics_reported.v1.claude": METRICS,
    b"campaign.metrics_reported.v1.chatgpt": METRICS,
    b"campaign.metrics_reported.v1.gemini": METRICS,
    b"campaign.create_requested.v1": APPLY,
}
PREFIXES = (b"cloudEvents_", b"cloudEvents:")  # CloudEvents AMQP binding, section 3.1.3.1
RABBITMQ = b"ce-"  # RabbitMQ binding; counts where two of the required attributes are there
STRUCTURED = b"application/cloudevents"
REQUIRED = frozenset({b"specversion", b"id", b"source", b"type"})
KNOWN = REQUIRED | {b"subject", b"datacontenttype", b"dataschema"}
PLAIN_KINDS = frozenset({b"S", b"t", b"I", b"l", b"s", b"b"})
PAST = 1_780_000_000  # seconds since 1970 that are over
VERSION = string(b"1.0")
OWN = (b"1.0", b"case-", b"urn:acme:crm", *ROUTES)
SOON_MS = 600_000
CONTENT_BYTES = 12  # of a content header, before its properties


class Refusal(Enum):
    """Whether the broker takes it; MAYBE where its versions differ."""

    NEVER = "never"
    ALWAYS = "always"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What may become of one copy: an effect, or a dead letter with one of these
    ``(step, code)``; ``ANYHOW`` stands for every step and code."""

    effect: bool
    deaths: frozenset[tuple[str, str]] = frozenset()


ANYHOW = ("*", "*")
ANY_DEATH = frozenset({ANYHOW})
EFFECT = Outcome(effect=True)
EITHER = Outcome(effect=True, deaths=ANY_DEATH)


def dead(step: str, *codes: str) -> Outcome:
    """Give the outcome of a message that dies at a step with one of these codes."""
    return Outcome(effect=False, deaths=frozenset((step, code) for code in codes))


INVALID = dead("decode", "INVALID_EVENT")


@dataclass(frozen=True, slots=True)
class Content:
    """What a body says: what becomes of it as a whole event, and as the data of one, and the
    platform that it names."""

    structured: Outcome
    binary: Outcome
    platform: str = "claude"


@dataclass(frozen=True, slots=True)
class Fate:
    """What has to become of a message: in the broker, and in each queue that it reaches."""

    refusal: Refusal
    outcomes: dict[str, Outcome]


def fate_of(publish: Publish, content: Content, user: bytes, largest: int) -> Fate:
    """Tell the fate of what ``user`` has written; ``largest`` is the limit of a body in bytes."""
    refusal = _refusal(publish, user)
    if refusal is Refusal.ALWAYS:
        return Fate(refusal, {})
    own = ROUTES[publish.key]
    outcomes = {own: _outcome(publish, content, largest)}
    for copy in {ROUTES[key] for key in _copies(publish) if key in ROUTES} - {own}:
        # It has the first key there as well, which names no event of that queue.
        large = len(publish.body) > largest
        outcomes[copy] = dead("decode", "TOO_LARGE" if large else "UNKNOWN_TYPE")
        if _expires_soon(publish.properties):
            outcomes[copy] = Outcome(effect=False, deaths=ANY_DEATH)
    return Fate(refusal, outcomes)


def _outcome(publish: Publish, content: Content, largest: int) -> Outcome:
    properties = publish.properties
    outcome = _read(properties, content)
    if len(publish.body) > largest:
        outcome = dead("decode", "TOO_LARGE")
    elif outcome != INVALID and _is_mismatch(publish.key, content.platform):
        outcome = _earlier(outcome, dead("decode", "KEY_MISMATCH"))
    elif properties.user_id is None and not any(step == "decode" for step, _ in outcome.deaths):
        outcome = _earlier(outcome, dead("authorize", "UNVERIFIED_SOURCE"))
    if _expires_soon(properties):
        return Outcome(outcome.effect, ANY_DEATH)
    return outcome


def _is_mismatch(key: bytes, platform: str) -> bool:
    named = key.split(b".")[3:]
    return bool(named) and named != [platform.encode()]


def _earlier(outcome: Outcome, death: Outcome) -> Outcome:
    """Let a message die earlier than it would have."""
    return Outcome(effect=False, deaths=ANY_DEATH) if ANYHOW in outcome.deaths else death


def _read(properties: Properties, content: Content) -> Outcome:
    headers = properties.headers or ()
    attributes = [(n[len(PREFIXES[0]) :], value) for n, value in headers if n.startswith(PREFIXES)]
    if not attributes:
        found = [(n[len(RABBITMQ) :], value) for n, value in headers if n.startswith(RABBITMQ)]
        attributes = found if len(REQUIRED & dict(found).keys()) > 1 else []
    kind = properties.content_type or b""
    if not attributes or kind.startswith(STRUCTURED):
        return content.structured
    if kind.strip().lower().startswith(STRUCTURED):
        return EITHER  # media types ignore case (RFC 9110, section 8.3.1)
    judged = _attributes(attributes)
    return content.binary if judged == EFFECT else judged


def _attributes(attributes: Table) -> Outcome:
    """Tell whether the attributes of a message in binary mode are those of an event."""
    names = [name for name, _ in attributes]
    given = dict(attributes)
    if len(names) > len(given):
        return EITHER
    for name in REQUIRED:
        value = given.get(name)
        if value is None or (value.kind == b"S" and not value.text):
            return INVALID
    if given[b"specversion"] != VERSION:
        return INVALID
    time = given.pop(b"time", None)
    if time is not None and not _is_past(time):
        return EITHER
    return EFFECT if all(_is_plain(*attribute) for attribute in given.items()) else EITHER


def _is_past(time: Value) -> bool:
    if time.kind == b"T":
        return int.from_bytes(time.raw) < PAST
    return time.kind == b"S" and time.text.startswith(b"2026-11-22T")


def _is_plain(name: bytes, value: Value) -> bool:
    """CloudEvents 1.0, section 3.1: names are a to z and 0 to 9, values have a type.

    Of the attributes that CloudEvents defines these are the values that the tests give an event;
    what another value means depends on what else was sent.
    """
    if name in KNOWN:
        return value.kind == b"S" and value.text.startswith(OWN)
    is_name = name.isalnum() and name.islower() and name.isascii()
    text = value.text.decode("latin-1") if value.kind == b"S" else ""
    is_text = text.isascii() and text.isprintable()  # no control characters (section 3.2)
    return is_name and is_text and value.kind in PLAIN_KINDS


def _refusal(publish: Publish, user: bytes) -> Refusal:
    properties = publish.properties
    headers = properties.headers or ()
    if (
        publish.exchange != EXCHANGE
        or publish.key not in ROUTES
        or publish.bits & 2
        or properties.user_id not in (None, user)
        or not _is_expiration(properties.expiration)
    ):
        return Refusal.ALWAYS
    if properties.more_flags or properties.delivery_mode not in (None, 1, 2):
        return Refusal.MAYBE
    if CONTENT_BYTES + len(properties.written) > FRAME_MAX - FRAMING:
        return Refusal.MAYBE  # the broker is not exact to the byte
    if any(name in (b"CC", b"BCC") and value.kind != b"A" for name, value in headers):
        return Refusal.MAYBE
    return Refusal.MAYBE if _is_unusual(headers) else Refusal.NEVER


def _is_unusual(headers: Table) -> bool:
    """Tell whether there are decimals or numbers that are none: Erlang's binaries have no NaN,
    and the streams of 3.10 no decimals."""
    return any(
        value.kind == b"D" or (value.kind in (b"f", b"d") and _is_no_number(value.raw))
        for _, value in headers
    )


def _is_no_number(raw: bytes) -> bool:
    exponent = 0x7F80 if len(raw) == 4 else 0x7FF0  # IEEE 754, single
    return int.from_bytes(raw[:2]) & exponent == exponent


def _is_expiration(text: bytes | None) -> bool:
    return text is None or (text.isdigit() and int(text) <= 315_360_000_000)


def _expires_soon(properties: Properties) -> bool:
    return properties.expiration is not None and int(properties.expiration) < SOON_MS


def _copies(publish: Publish) -> Iterable[bytes]:
    for name in (b"CC", b"BCC"):
        for given, value in publish.properties.headers or ():
            if given == name and value.kind == b"A":
                yield from _strings(value.text)
            if given == name:
                break


def _strings(content: bytes) -> Iterable[bytes]:
    """Read an array that has nothing but long strings."""
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at + 1 : at + 5])
        yield content[at + 5 : at + 5 + size]
        at += 5 + size

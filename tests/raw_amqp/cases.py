"""Messages from the whole grammar of AMQP, each made from a seed and its number alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tests.raw_amqp import bodies
from tests.raw_amqp.grammar import (
    FRAME_MAX,
    FRAMING,
    Properties,
    Publish,
    Value,
    array,
    decimal,
    nested,
    number,
    octets,
    string,
    table,
    timestamp,
)
from tests.raw_amqp.oracle import EXCHANGE, INVALID, Content, Fate, fate_of

Dice = Random
Field = tuple[bytes, Value]
SECONDS = (
    0,
    1,
    1_732_262_400,
    1_732_262_400_000,
    1_732_262_400_000_000,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
OURS = ("key", "attempt", "attempts", "waited", "first-failed", "last-failed", "user", "replays")
OURS_TOO = ("reason", "error-class", "stage", "worker", "first-received", "cut")
SPECIAL = (
    *(f"x-adrelay-{name}".encode() for name in OURS + OURS_TOO),
    *(b"x-death", b"x-first-death-queue", b"x-first-death-reason", b"x-last-death-queue"),
    *(b"x-delivery-count", b"x-acquired-count", b"traceparent", b"tracestate", b"x-match"),
    *(b"cloudevents_id", b"cloudEvents-id", b"CE_id", b"ce-id", b"", b"\xff", b"\0", b"n" * 128),
)
KEYS = tuple(f"{bodies.REPORT}{end}".encode() for end in ("", ".claude", ".chatgpt", ".gemini"))
CONTENT_TYPES = (None, b"", b"application/json", b"application/cloudevents+json", b"text/plain")


@dataclass(frozen=True, slots=True)
class Case:
    """What is written, and what has to become of it."""

    number: int
    publish: Publish
    fate: Fate


def case_of(seed: int, number_: int, user: bytes, largest: int) -> Case:
    """Make a case; ``largest`` is the limit of a body in bytes."""
    dice = Random(f"{seed}:{number_}")
    key, (body, content) = _body(number_, dice, largest)
    properties = _properties(dice, number_, user)
    if not body:  # nothing else tells it from others
        properties = replace(properties, message_id=f"case-{number_}".encode())
    if content.binary != INVALID or dice.random() < 0.05:
        properties = _in_binary_mode(properties, number_, dice)
    publish = Publish(EXCHANGE, key, properties, body, piece=_piece(len(body), dice))
    if dice.random() < 0.01:
        publish = dice.choice(UNUSUAL)(publish, dice)
    return Case(number_, publish, fate_of(publish, content, user, largest))


def _body(number_: int, dice: Dice, largest: int) -> tuple[bytes, tuple[bytes, Content]]:
    claude = dice.choice(KEYS[:2])
    chance = dice.random()
    bound = 0.0
    for odds, key, make in (
        (0.40, claude, bodies.report),
        (0.10, claude, bodies.report_data),
        (0.01, claude, bodies.late),
        (0.02, bodies.CREATE.encode(), bodies.create),
        (0.03, dice.choice(KEYS), bodies.report),
    ):
        bound += odds
        if chance < bound:
            return key, make(number_, dice)
    if chance < bound + 0.003:
        edge = dice.choice((largest, FRAME_MAX - FRAMING, FRAME_MAX, 4096))
        return claude, bodies.sized(number_, edge + dice.randrange(-FRAMING, FRAMING + 1))
    if chance < bound + 0.02:
        return dice.choice(KEYS), (b"", bodies.BROKEN)
    body, content = dice.choice(bodies.BAD)(number_, dice)
    keys = KEYS[:2] if content.platform == "claude" else KEYS[::2]
    return dice.choice(keys), (body, content)


def _piece(size: int, dice: Dice) -> int:
    """Choose the size of the frames of a body, so that they do not become too many."""
    largest = FRAME_MAX - FRAMING
    return largest if dice.random() < 0.9 else min(largest, max(1, size // dice.randrange(1, 9)))


def _properties(dice: Dice, number_: int, user: bytes) -> Properties:
    def maybe(make: Callable[[], bytes], odds: float = 0.4) -> bytes | None:
        return make() if dice.random() < odds else None

    def text() -> bytes:
        return dice.choice(
            (b"", b"text", b"\xff\xfe", b"a\0b\n\x1b[2J", "ä\u202e".encode(), _bytes(dice))
        )

    kind = dice.choice(CONTENT_TYPES) if dice.random() < 0.8 else text()
    return Properties(
        content_type=kind,
        content_encoding=maybe(text),
        headers=tuple(_fields(dice)) if dice.random() < 0.6 else None,
        delivery_mode=dice.choice((None, 1, 2)),
        priority=dice.choice((None, 0, 9, 255)),
        correlation_id=maybe(text),
        reply_to=maybe(text),
        expiration=maybe(lambda: dice.choice((b"600001", b"4294967295", b"0099999999")), 0.1),
        message_id=maybe(lambda: text() + f"case-{number_}".encode() * (dice.random() < 0.5))
        if dice.random() < 0.9
        else b"the same for all",
        timestamp=dice.choice((None, *SECONDS)),
        type=maybe(text),
        user_id=user if dice.random() < 0.97 else None,
        app_id=maybe(text),
        cluster_id=maybe(text, 0.1),
    )


def _bytes(dice: Dice, most: int = 240) -> bytes:
    return dice.randbytes(dice.randrange(most))


def _fields(dice: Dice) -> list[Field]:
    made = [(_name(dice), _value(dice)) for _ in range(dice.choice((0, 1, 2, 3, 6)))]
    if dice.random() < 0.002:
        made += [(f"many-{n}".encode(), string(b"x" * dice.choice((1, 900)))) for n in range(120)]
    if dice.random() < 0.002:
        made.append((b"deep", nested(dice.choice((30, 900, 1100, 1100, 3000)))))
    if made and dice.random() < 0.05:
        made.append((made[0][0], _value(dice)))
    if dice.random() < 0.01:
        copies = dice.sample((*KEYS, bodies.CREATE.encode(), b"no.such", b"\xff" * 300), 2)
        made.append((dice.choice((b"CC", b"BCC")), array(map(string, copies))))
    return made


def _name(dice: Dice) -> bytes:
    return dice.choice(SPECIAL) if dice.random() < 0.7 else _bytes(dice, 256)


def _value(dice: Dice, depth: int = 0) -> Value:
    """Make a value of any type; tables and arrays hold others."""
    makers: list[Callable[[], Value]] = [
        lambda: string(
            dice.choice((b"", b"1", b"\xff\xfe", b"a\0b", b"campaign.saved.v1", _bytes(dice)))
        ),
        lambda: octets(b"x", _bytes(dice)),
        lambda: timestamp(dice.choice(SECONDS)),
        lambda: Value(b"t", bytes((dice.choice((0, 1, 255)),))),
        lambda: Value(b"V", b""),
        lambda: number(
            *dice.choice(((b"f", "f"), (b"d", "d"))), dice.choice((0.0, -0.0, 1.5e38, 1e-45))
        ),
        lambda: _integer(dice),
    ]
    if depth < 3:
        makers.append(lambda: array(_value(dice, depth + 1) for _ in range(dice.randrange(4))))
        makers.append(
            lambda: table(
                [(_name(dice), _value(dice, depth + 1)) for _ in range(dice.randrange(4))]
            )
        )
    return dice.choice(makers)()


def _integer(dice: Dice) -> Value:
    kind, size, signed = dice.choice(INTEGERS)
    bits = 8 * size
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    chosen = dice.choice((low, high, 0, 1, dice.randint(low, high)))
    return Value(kind, chosen.to_bytes(size, "big", signed=signed))


INTEGERS = (
    (b"b", 1, True),
    (b"B", 1, False),
    (b"s", 2, True),
    (b"u", 2, False),
    (b"I", 4, True),
    (b"i", 4, False),
    (b"l", 8, True),
    (b"L", 8, True),
)


def _in_binary_mode(properties: Properties, number_: int, dice: Dice) -> Properties:
    """Add the attributes of an event as headers; now and then they are wrong."""
    prefix = dice.choice((b"cloudEvents_", b"cloudEvents:", b"ce-"))
    given = {k.encode(): string(v.encode()) for k, v in bodies.attributes(number_).items()}
    chance = dice.random()
    if chance < 0.1:
        given[b"time"] = timestamp(dice.choice((0, 1_732_262_400, 2**63 - 1)))
    elif chance < 0.15:
        del given[dice.choice((b"id", b"specversion", b"source", b"type"))]
    elif chance < 0.25:
        given[dice.choice((*given, b"ext1", b"\xff", b"subject", b""))] = _value(dice)
    elif chance < 0.28:
        given |= {b"x%03d" % n: string(b"v" * 1000) for n in range(110)}
    fields = [(prefix + name, value) for name, value in given.items()]
    headers = [*(properties.headers or ()), *fields]
    dice.shuffle(headers)
    kind = properties.content_type
    if dice.random() < 0.8:
        kind = dice.choice((None, b"application/json", b"\xff"))
    return replace(properties, headers=tuple(headers), content_type=kind)


def _with(**changes: tuple[object, ...]) -> Callable[[Publish, Dice], Publish]:
    def changed(publish: Publish, dice: Dice) -> Publish:
        chosen = {name: dice.choice(values) for name, values in changes.items()}
        return replace(publish, properties=replace(publish.properties, **chosen))  # type: ignore[arg-type]

    return changed


def _headed(make: Callable[[Dice], Field]) -> Callable[[Publish, Dice], Publish]:
    def changed(publish: Publish, dice: Dice) -> Publish:
        headers = (*(publish.properties.headers or ()), make(dice))
        return replace(publish, properties=replace(publish.properties, headers=headers))

    return changed


REFUSED_KEYS = (b"\xff" * 255, b"", b"campaign.saved.v1.claude", KEYS[1] + b"\n")
UNUSUAL: tuple[Callable[[Publish, Dice], Publish], ...] = (
    lambda publish, dice: replace(publish, key=dice.choice(REFUSED_KEYS)),
    lambda publish, dice: replace(
        publish, exchange=dice.choice((b"", b"adrelay.dead", b"\xff", b"no"))
    ),
    lambda publish, _: replace(publish, bits=3),
    _with(user_id=(b"adrelay-workers", b"", b"\xff" * 255)),
    _with(expiration=(b"", b"-1", b" 5", b"5 ", b"1e3", b"\xff", b"9" * 255)),
    _with(expiration=(b"0", b"1", b"50")),
    _with(expiration=(b"0", b"1", b"50")),
    _with(delivery_mode=(0, 255)),
    _with(more_flags=((0,), (1, 0), (0xFFFE,))),
    _headed(lambda dice: (dice.choice((b"CC", b"BCC")), _value(dice, depth=3))),
    _headed(lambda dice: (b"decimal", decimal(dice.choice((0, 255)), dice.choice((-(2**31), 7))))),
    _headed(lambda dice: (b"nan", number(b"d", "d", dice.choice((float("nan"), float("inf")))))),
)

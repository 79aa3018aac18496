"""CloudEvents 1.0.2 over AMQP, each rule with the section that it stands in.

AMQP is the AMQP protocol binding, CE the core specification, RabbitMQ the binding that the
CloudEvents SDK for Python writes for RabbitMQ. Content headers are written byte by byte, so that
every AMQP type occurs as other clients write it; a few go through a broker and a worker's consumer.
"""

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractConnection
from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.errors import Permanent, Snooze
from infra.messaging.context import Context
from infra.messaging.decoder import decode_delivery
from infra.messaging.delivery import Delivery
from infra.resources import Resources
from tests.infra.ledger import QUEUE, consuming, create, headers_of, take, until, written
from tests.infra.messaging.test_upstream import note
from tests.infra.parties import METRICS, SOURCE, Party, party, register
from tests.raw_amqp.grammar import (
    BASIC,
    Properties,
    Table,
    Value,
    number,
    octets,
    string,
    timestamp,
)

KIND = "campaign.metrics_reported.v1"
TYPES: dict[str, type[Event]] = {KIND: CampaignMetricsReported}
DATA = {
    "platform": "claude",
    "platform_campaign_id": "c-1",
    "date": "2026-11-22",
    "impressions": 10,
    "clicks": 2,
    "conversions": 1,
    "spend": 1.5,
}
BODY = orjson.dumps(DATA)
JSON, STRUCTURED = b"application/json", b"application/cloudevents+json"
TIME = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)
SECONDS = int(TIME.timestamp())
TRUE, FALSE = number(b"t", "B", 1), number(b"t", "B", 0)
NULL = Value(b"V", b"")
TABLE, ARRAY = octets(b"F", b""), octets(b"A", b"")
REQUIRED = {"specversion": "1.0", "id": "e-1", "source": "urn:test", "type": KIND}
GIVEN = {name.encode(): string(value.encode()) for name, value in REQUIRED.items()}
WHOLE = {**REQUIRED, "data": DATA}
upstream = party(UPSTREAM_USER)


def attributes(prefix: bytes = b"cloudEvents_", **more: Value) -> tuple[tuple[bytes, Value], ...]:
    return changed({name.encode(): value for name, value in more.items()}, prefix)


def changed(
    more: Mapping[bytes, Value | None], prefix: bytes = b"cloudEvents_"
) -> tuple[tuple[bytes, Value], ...]:
    given = {**GIVEN, **more}
    return tuple((prefix + name, value) for name, value in given.items() if value is not None)


def delivery(headers: Table | None, body: bytes = BODY, kind: bytes | None = JSON) -> Delivery:
    written = Properties(content_type=kind, headers=headers, user_id=b"upstream").written
    header = struct.pack(">HHQ", BASIC, 0, len(body)) + written
    exchange, key = topology.EVENTS_EXCHANGE, f"{KIND}.claude"
    return Delivery(1, "metrics.record", exchange, key, body, header, redelivered=False)


def read(*what: Any, **more: Any) -> dict[str, Any]:
    event = decode_delivery(delivery(*what, **more), TYPES, 10_000).event
    said = {name: getattr(event, name) for name in event.model_fields_set - {"data"}}
    assert event.data.clicks == 2
    return {**said, **(event.model_extra or {})}


def reason(*what: Any, **more: Any) -> str:
    with pytest.raises(Permanent) as caught:
        decode_delivery(delivery(*what, **more), TYPES, 10_000)
    assert caught.value.code == "INVALID_EVENT"
    return caught.value.reason


# What stands in the headers of a message in binary mode, and what is read.
BINARY: list[tuple[str, Table, dict[str, Any]]] = [
    ("3.1.3.1: the prefix cloudEvents:", attributes(b"cloudEvents:"), REQUIRED),
    ("3.1.3.1: the prefix cloudEvents_", attributes(b"cloudEvents_"), REQUIRED),
    ("RabbitMQ: the prefix ce-", attributes(b"ce-"), REQUIRED),
    ("extensions are kept", attributes(comext=string(b"kept")), {"comext": "kept"}),
    ("RabbitMQ: too", attributes(b"ce-", comext=string(b"kept")), {"comext": "kept"}),
    ("other headers do not count", (*attributes(), (b"ext", TRUE)), REQUIRED),
    ("3.1.3.2: boolean", attributes(a=TRUE, b=FALSE), {"a": "true", "b": "false"}),
    ("3.1.3.2: long", attributes(a=number(b"l", "q", -(2**63))), {"a": str(-(2**63))}),
    ("numbers other than long: 32 bits", attributes(a=number(b"I", "i", -7)), {"a": "-7"}),
    ("numbers other than long: 8 bits", attributes(a=number(b"b", "b", 5)), {"a": "5"}),
    ("3.1.3.2: binary", attributes(a=octets(b"x", b"\xff\x00")), {"a": "/wA="}),
    ("3.1.3.2: string", attributes(a=string("\u20ac".encode())), {"a": "\u20ac"}),
    ("3.1.3.2: timestamp", attributes(time=timestamp(SECONDS)), {"time": TIME}),
    ("its string", attributes(time=string(b"2026-11-21T08:00:00Z")), {"time": TIME}),
    ("with an offset", attributes(time=string(b"2026-11-21T09:00:00+01:00")), {"time": TIME}),
    ("AMQP 1.0: ms", attributes(time=number(b"l", "q", SECONDS * 1000)), {"time": TIME}),
    ("ms by mistake", attributes(time=timestamp(SECONDS * 1000)), {"time": TIME}),
    ("a native type of id", attributes(id=number(b"l", "q", 5)), {"id": "5"}),
    ("nothing given", attributes(subject=NULL, ext=NULL), REQUIRED),
    ("the same twice", attributes() + attributes(b"cloudEvents:"), REQUIRED),
    ("both bindings: AMQP's", attributes() + attributes(b"ce-", id=string(b"x")), REQUIRED),
    ("3.1.1", attributes(datacontenttype=string(b"Application/JSON; charset=utf-8")), REQUIRED),
]


@pytest.mark.parametrize("kind", [JSON, b"Application/JSON; charset=UTF-8", b"text/x+json", None])
def test_binary_mode_is_read(kind: bytes | None) -> None:
    for rule, headers, expected in BINARY:
        found = read(headers, kind=kind)
        assert expected.items() <= found.items(), rule
        assert found.keys() <= {*REQUIRED, *expected, "datacontenttype"}, rule
        assert found.get("datacontenttype", "application/json") == "application/json", rule


# What stands in the headers of a message in binary mode, and what the reason says.
BAD_BINARY: list[tuple[Table, str]] = [
    *((changed({name: None}), f"{name.decode()}: Field required") for name in GIVEN),
    *((changed({name: None}, b"ce-"), f"{name.decode()}: Field required") for name in GIVEN),
    *((changed({name: string(b"")}), f"{name.decode()}: ") for name in GIVEN),
    *((changed({name: NULL}), f"{name.decode()}: Field required") for name in GIVEN),
    (attributes(specversion=string(b"0.3")), "specversion: "),
    (attributes(type=string(b"com.acme.other")), "type: "),
    (attributes(time=string(b"yesterday")), "time: "),
    (attributes(time=number(b"l", "q", SECONDS)), "time: "),  # seconds: not what AMQP 1.0 counts in
    (attributes(time=number(b"l", "q", -1)), "time: "),
    (attributes(time=timestamp(2**64 - 1)), "time: "),
    (attributes(time=TRUE), "time: "),
    (attributes(subject=string(b"")), "subject: "),
    (attributes(ext=string(b"a\0b")), "ext: "),  # CE "Type System": no control characters
    (attributes(ext=string(b"\xff")), "ext: its text is not UTF-8"),
    (attributes(ext=TABLE), "ext: CloudEvents has no attributes of the type dict"),
    (attributes(ext=ARRAY), "ext: CloudEvents has no attributes of the type list"),
    (attributes(com_ext=string(b"x")), "com_ext: "),  # CE "Naming Conventions"
    (attributes(Comext=string(b"x")), "Comext: "),
    (changed({b"com-ext": string(b"x")}), "com-ext: "),
    (changed({b"": string(b"x")}), ": "),
    (attributes(datacontenttype=string(b"text/xml")), "datacontenttype: "),
    (attributes() + attributes(b"cloudEvents:", id=string(b"e-2")), "id: given twice"),
    (attributes(b"cloudEvents:", id=string(b"e-2")) + attributes(), "id: given twice"),
]


def test_binary_mode_is_refused_with_the_name_of_the_attribute() -> None:
    for headers, text in BAD_BINARY:
        assert text in reason(headers), headers


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", "€".encode("utf-16"), b"null", b"[]"])
def test_binary_mode_needs_data_in_json(body: bytes) -> None:
    assert "the body is no JSON" in (told := reason(attributes(), body)) or "data" in told


@pytest.mark.parametrize(
    "kind",
    [
        STRUCTURED,
        b"application/cloudevents+json; charset=UTF-8",  # AMQP 3.2.1
        b"application/cloudevents+json;charset=utf-8",
        b"Application/CloudEvents+JSON ; Charset=utf-8",  # RFC 2045 5.1: in any case
        b"APPLICATION/CLOUDEVENTS+JSON",
        b" application/cloudevents+json",
        b"application/cloudevents",
    ],
)
def test_structured_mode_reads_the_body_whatever_the_headers_say(kind: bytes) -> None:
    whole = orjson.dumps({**WHOLE, "comint": 5, "combool": True, "subject": None})
    other: Table = attributes(id=string(b"other"), source=TABLE, ext=string(b"\xff"))
    for headers in (None, attributes(), other, attributes(b"ce-", id=string(b"other"))):  # 3.2.3
        found = read(headers, whole, kind)
        assert {**REQUIRED, "comint": 5, "combool": True}.items() <= found.items()
        assert not found.keys() & {"ext"}


@pytest.mark.parametrize("name", list(REQUIRED))
def test_structured_mode_takes_nothing_from_the_headers(name: str) -> None:
    partial = orjson.dumps({key: value for key, value in WHOLE.items() if key != name})
    assert reason(attributes(), partial, STRUCTURED) == f"{name}: Field required"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (b"application/cloudevents-batch+json", "publish each event as a message of its own"),
        (b"Application/CloudEvents-Batch+JSON; charset=utf-8", "publish each event as a message"),
        (b"application/cloudevents-batch", "publish each event as a message of its own"),
        (b"application/cloudevents+xml", "only application/cloudevents+json is read"),
        (b"application/cloudevents+avro; x=y", "only application/cloudevents+json is read"),
        (b"application/cloudevents+protobuf", "only application/cloudevents+json is read"),
    ],
)
def test_a_batch_and_another_format_are_refused_by_their_content_type(
    kind: bytes, text: str
) -> None:
    for body in (orjson.dumps([WHOLE]), orjson.dumps(WHOLE), b"[]", BODY, b"<event/>"):
        for headers in (None, attributes(), attributes(b"ce-")):
            told = reason(headers, body, kind)
            assert text in told
            assert kind.split(b";")[0].decode().lower() in told


def test_headers_that_merely_begin_with_ce_are_none_of_an_event() -> None:
    named = (b"ce-id", b"ce-x", b"ce-", b"x-ce-specversion", b"CE-specversion", b"ce-specversio")
    headers = tuple((name, string(b"x")) for name in named)
    for kind in (None, JSON, STRUCTURED):
        assert read(headers, orjson.dumps(WHOLE), kind) == REQUIRED


def test_the_content_type_of_another_property_is_not_taken_for_it() -> None:
    properties = Properties(content_encoding=STRUCTURED, headers=attributes(), more_flags=())
    header = struct.pack(">HHQ", BASIC, 0, len(BODY)) + properties.written
    sent = Delivery(1, QUEUE, topology.EVENTS_EXCHANGE, KIND, BODY, header, redelivered=False)
    assert decode_delivery(sent, TYPES, 10_000).event.id == "e-1"


MODES = ("binary", "structured")
SDK_WAYS = [(binding, mode) for binding in ("rabbitmq", "amqp") for mode in MODES]


def sdk_message(binding: str, mode: str) -> dict[str, Any]:
    """Write an event with one of the SDK's bindings: the body and properties of a message."""
    own = {
        **REQUIRED,
        "id": f'{binding} {mode} "\u20ac" 100%',
        "source": SOURCE,
        "datacontenttype": "application/json",
        "time": TIME,
        "subject": "a subject",
        "comext": "an extension",
        "comint": 7,
    }
    event = CloudEvent(attributes=own, data=DATA)
    if binding == "rabbitmq":
        sent = getattr(rabbitmq, f"to_{mode}")(event, JSONFormat())
        return {"body": sent.body, "headers": sent.headers, "content_type": sent.content_type}
    sent = getattr(amqp, f"to_{mode}")(event, JSONFormat())
    kind = sent.properties["content-type"]
    headers = sent.application_properties
    return {"body": sent.application_data, "headers": headers, "content_type": kind}


async def test_the_python_sdk_is_understood_at_first_and_after_waiting(
    upstream: Party, resources: Resources, engine: AsyncEngine
) -> None:
    await create(engine)
    await register(engine, SOURCE)
    seen: dict[str, list[Any]] = {}

    async def handle(events: list[Any], ctx: Context) -> Sequence[Event]:
        for event in events:
            seen.setdefault(event.id, []).append(event)
        if fresh := [event for event in events if len(seen[event.id]) == 1]:
            raise Snooze("not yet", 1, events=fresh)
        return await note(events, ctx)

    async def are_written() -> bool:
        return len(await written(engine)) == len(SDK_WAYS)

    for binding, mode in SDK_WAYS:
        properties = sdk_message(binding, mode)
        await upstream.publish(properties.pop("body"), METRICS, **properties)
    async with consuming(resources, handle):
        await until(are_written)
    assert set(seen) == {f'{binding} {mode} "\u20ac" 100%' for binding, mode in SDK_WAYS}
    for first, *more in seen.values():
        assert more == [first]
        assert (first.time, first.subject) == (TIME, "a subject")
        assert first.model_extra["comext"] == "an extension"
        assert str(first.model_extra["comint"]) == "7"


async def test_a_batch_and_a_contradiction_are_dead_letters_and_a_neighbour_takes_effect(
    upstream: Party, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await register(engine, SOURCE)
    headers: dict[str, Any] = {f"ce-{name}": value for name, value in REQUIRED.items()}
    mine = {**headers, "ce-source": SOURCE}
    both = {
        f"{prefix}{name}": value
        for prefix in ("cloudEvents_", "cloudEvents:")
        for name, value in REQUIRED.items()
    } | {"cloudEvents:source": SOURCE}
    batch = "application/cloudevents-batch+json"
    await upstream.publish(orjson.dumps([WHOLE]), METRICS, content_type=batch)
    await upstream.publish(BODY, METRICS, content_type="application/json", headers=both)
    await upstream.publish(BODY, METRICS, content_type="application/json", headers=mine)
    async with consuming(resources, note):
        dead = [headers_of(await take(broker, topology.dead_queue(QUEUE))) for _ in range(2)]

        async def is_written() -> bool:
            return await written(engine) == ["e-1"]

        await until(is_written)
    assert {told["error-class"] for told in dead} == {"INVALID_EVENT"}
    contradicted, batched = sorted(str(told["reason"]) for told in dead)
    assert contradicted.startswith("source: given twice")
    assert "a batch is no event over AMQP" in batched

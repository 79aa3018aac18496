"""The trace context of a message: in its headers, in its event, and in what it becomes."""

from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event, encode, now
from infra.amqp.permissions import UPSTREAM_USER
from infra.errors import Transient
from infra.messaging.decoder import decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.digest import content_digest
from infra.messaging.republish import dead_message, retry_message
from infra.messaging.retry_policy import DeadLetterDecision, RetryDecision, decide
from infra.resources import Resources
from schemas.trace_context import TraceContext
from tests.infra.ledger import consuming, count, report, until
from tests.infra.messaging.test_amqp_binding import (
    BODY,
    STRUCTURED,
    TABLE,
    attributes,
    changed,
    delivery,
)
from tests.infra.messaging.test_consumer import recorded
from tests.infra.messaging.test_outbox_relay import TRACEPARENT
from tests.infra.parties import METRICS, SOURCE, Party, party, register
from tests.raw_amqp.grammar import Table, Value, octets, string

TYPES: dict[str, type[Event]] = {CampaignMetricsReported.event_type(): CampaignMetricsReported}
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
upstream = party(UPSTREAM_USER)


def read(headers: Table, **event: Any) -> TraceContext | None:
    """Decode a message in structured mode with these headers."""
    body = encode(report(1)) if not event else orjson.dumps(orjson.loads(encode(report(1))) | event)
    found: Event = decode_delivery(delivery(headers, body, STRUCTURED), TYPES, 10_000).event
    return found.trace_context


def header(**values: str) -> Table:
    return [(name.encode(), string(text.encode())) for name, text in values.items()]


CASES: list[tuple[str, Table, dict[str, Any], TraceContext | None]] = [
    ("none", [], {}, None),
    ("only the event", [], {"traceparent": TRACEPARENT}, TraceContext(TRACEPARENT)),
    (
        "the event, with its state",
        [],
        {"traceparent": TRACEPARENT, "tracestate": STATE},
        TraceContext(TRACEPARENT, STATE),
    ),
    ("only the message", header(traceparent=TRACEPARENT), {}, TraceContext(TRACEPARENT)),
    (
        "the message, with its state",
        header(traceparent=TRACEPARENT, tracestate=STATE),
        {},
        TraceContext(TRACEPARENT, STATE),
    ),
    (
        "both: the message is nearer, and its state counts",
        header(traceparent=TRACEPARENT),
        {"traceparent": OTHER, "tracestate": STATE},
        TraceContext(TRACEPARENT),
    ),
    (
        "both are the same",
        header(traceparent=TRACEPARENT),
        {"traceparent": TRACEPARENT, "tracestate": STATE},
        TraceContext(TRACEPARENT, STATE),
    ),
    (
        "a malformed one in the message",
        header(traceparent="00-0-0-00"),
        {"traceparent": OTHER},
        TraceContext(OTHER),
    ),
    (
        "a higher version",
        header(traceparent=f"7{TRACEPARENT[1:]}-x"),
        {},
        TraceContext(TRACEPARENT),
    ),
    ("a state alone", header(tracestate=STATE), {}, None),
    ("a state alone in the event", [], {"tracestate": STATE}, None),
    ("malformed in the event", [], {"traceparent": "x", "tracestate": STATE}, None),
    ("an object in the event", [], {"traceparent": {"a": [1]}, "tracestate": 7}, None),
    ("far too long in the event", [], {"traceparent": "0" * 5000, "tracestate": "a=" * 2000}, None),
    (
        "a malformed state in the event",
        [],
        {"traceparent": TRACEPARENT, "tracestate": "a=1,a=2"},
        TraceContext(TRACEPARENT),
    ),
    ("a control character in the event", [], {"traceparent": "\n"}, None),
    ("a text that is no UTF-8 in the message", [(b"traceparent", string(b"\xff"))], {}, None),
    ("a table in the message", [(b"traceparent", TABLE)], {}, None),
    ("bytes in the message", [(b"traceparent", octets(b"x", TRACEPARENT.encode()))], {}, None),
]


@pytest.mark.parametrize(
    ("headers", "event", "counts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_trace_context_is_read_and_never_a_reason_to_reject_an_event(
    headers: Table, event: dict[str, Any], counts: TraceContext | None
) -> None:
    assert read(headers, **event) == counts


BINARY: list[tuple[dict[str, Value], TraceContext | None]] = [
    ({"traceparent": string(TRACEPARENT.encode())}, TraceContext(TRACEPARENT)),
    (
        {"traceparent": string(TRACEPARENT.encode()), "tracestate": string(STATE.encode())},
        TraceContext(TRACEPARENT, STATE),
    ),
    ({"traceparent": string(b"\xff")}, None),
    ({"traceparent": TABLE, "tracestate": TABLE}, None),
    ({"traceparent": string(b"")}, None),
]


@pytest.mark.parametrize(("given", "counts"), BINARY)
def test_an_attribute_of_binary_mode_counts_as_one_of_structured_mode(
    given: dict[str, Value], counts: TraceContext | None
) -> None:
    headers = changed({name.encode(): value for name, value in given.items()})
    found = decode_delivery(delivery(headers, BODY), TYPES, 10_000)
    assert found.event.trace_context == counts


def test_a_contradicting_trace_context_of_binary_mode_is_no_reason_either() -> None:
    twice = (
        *attributes(traceparent=string(OTHER.encode())),
        *attributes(b"cloudEvents:", traceparent=string(TRACEPARENT.encode())),
    )
    assert decode_delivery(delivery(twice, BODY), TYPES, 10_000).event.id == "e-1"


def test_the_trace_context_is_no_part_of_the_content() -> None:
    plain, traced = report(1), report(1, traceparent=TRACEPARENT, tracestate=STATE)
    assert content_digest(plain) == content_digest(traced)


def message(*headers: tuple[bytes, Value]) -> Delivery:
    return delivery(headers, encode(report(1)), STRUCTURED)


def test_a_retry_and_a_dead_letter_keep_both_headers() -> None:
    given = message(*header(traceparent=TRACEPARENT, tracestate=STATE))
    retry = decide(Transient("busy"), 0, 0, 0.5)
    assert isinstance(retry, RetryDecision)
    dead = DeadLetterDecision("gone", "GONE", 1)
    for built in (retry_message(given, retry, now()), dead_message(given, dead, "handler", now())):
        assert built.headers["traceparent"] == TRACEPARENT
        assert built.headers["tracestate"] == STATE


async def test_what_an_event_causes_is_in_the_trace_of_its_message(
    resources: Resources, upstream: Party
) -> None:
    await register(resources.engine, SOURCE)

    async def record(events: Any, _: Any) -> list[Event]:
        return [recorded(event) for event in events]

    async with consuming(resources, record):
        headers = {"traceparent": f"cc{TRACEPARENT[2:]}-more", "tracestate": f" {STATE} ,"}
        await upstream.publish(report(1, source=SOURCE), METRICS, headers=headers)
        await until(lambda: _has_row(resources.engine))
    async with resources.engine.connect() as connection:
        row = (await connection.execute(text("select properties, body from outbox"))).one()
    assert row.properties["headers"] == {"traceparent": TRACEPARENT, "tracestate": STATE}
    event = orjson.loads(row.body)
    assert (event["traceparent"], event["tracestate"]) == (TRACEPARENT, STATE)


async def _has_row(engine: AsyncEngine) -> bool:
    return await count(engine, "select count(*) from outbox") == 1

"""What is read from a delivery, and what is said of one that cannot be read."""

import datetime as dt
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from events import CampaignMetricsReported
from events.envelope import Event, encode, now
from infra.amqp import topology
from infra.errors import Permanent
from infra.messaging.decoder import decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.digest import content_digest
from infra.messaging.headers import ATTEMPT, FIRST_FAILED, KEY, USER, WAITED

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


def event(**fields: Any) -> CampaignMetricsReported:
    return CampaignMetricsReported(source="urn:test", data=DATA, **fields)


def delivery(
    body: bytes,
    *,
    key: str = f"{KIND}.claude",
    exchange: str = topology.EVENTS_EXCHANGE,
    headers: dict[str, Any] | None = None,
    content_type: str | None = "application/cloudevents+json",
) -> Delivery:
    properties = Basic.Properties(content_type=content_type, user_id="upstream", headers=headers)
    return Delivery(1, "metrics.record", exchange, key, body, properties, redelivered=False)


def reason(of: Delivery, limit: int = 10_000) -> Permanent:
    with pytest.raises(Permanent) as caught:
        decode_delivery(of, TYPES, limit)
    return caught.value


def test_a_structured_event_is_read_in_one_pass() -> None:
    sent = event(id="e-1", extension="kept")
    received = decode_delivery(delivery(encode(sent)), TYPES, 10_000)
    assert received.event == sent
    assert received.event.model_extra == {"extension": "kept"}


@pytest.mark.parametrize("prefix", ["cloudEvents_", "cloudEvents:"])
def test_a_binary_event_is_read_from_headers_and_body(prefix: str) -> None:
    attributes = {"specversion": "1.0", "id": "e-1", "source": "urn:test", "type": KIND}
    headers = {prefix + name: value for name, value in attributes.items()}
    binary = decode_delivery(
        delivery(orjson.dumps(DATA), headers=headers, content_type="application/json"),
        TYPES,
        10_000,
    )
    structured = decode_delivery(delivery(encode(event(id="e-1"))), TYPES, 10_000)
    assert (binary.key, binary.digest) == (structured.key, structured.digest)


def test_the_digest_does_not_depend_on_how_the_json_was_written() -> None:
    loose = orjson.dumps(
        {**DATA, "spend": "1.50", "mode": "cumulative"}, option=orjson.OPT_SORT_KEYS
    )
    other = CampaignMetricsReported(source="urn:test", data=orjson.loads(loose))
    assert content_digest(other) == content_digest(event())


def test_our_headers_count_only_on_a_message_that_came_back() -> None:
    forged = {ATTEMPT: 9, WAITED: 500, KEY: "x.y.z", USER: "admin", FIRST_FAILED: now().isoformat()}
    fresh = delivery(b"", headers=forged)
    assert (fresh.attempts, fresh.seconds_waited, fresh.user) == (0, 0, "upstream")
    assert fresh.routing_key == f"{KIND}.claude"
    assert fresh.first_failed is None
    back = delivery(b"", headers=forged, exchange=topology.RETURN_EXCHANGE)
    assert (back.attempts, back.seconds_waited, back.user, back.routing_key) == (
        9,
        500,
        "admin",
        "x.y.z",
    )


@pytest.mark.parametrize("value", [-1, "3", 1.5, None, [1]])
def test_a_header_of_the_wrong_kind_counts_as_absent(value: object) -> None:
    assert delivery(b"", headers={ATTEMPT: value}, exchange=topology.RETURN_EXCHANGE).attempts == 0


def test_a_large_body_is_refused_before_it_is_parsed() -> None:
    error = reason(delivery(b"x" * 101), limit=100)
    assert error.code == "TOO_LARGE"
    assert error.reason == "the body has 101 bytes, the limit is 100"


def test_a_key_of_no_event_of_this_queue_is_named() -> None:
    error = reason(delivery(b"{}", key="campaign.metrics_reported.v9"))
    assert error.code == "UNKNOWN_TYPE"
    assert "campaign.metrics_reported.v9" in error.reason


def test_key_and_platform_must_agree() -> None:
    error = reason(delivery(encode(event()), key=f"{KIND}.gemini"))
    assert error.code == "KEY_MISMATCH"


def test_an_event_from_the_future_is_refused() -> None:
    error = reason(delivery(encode(event(time=now() + dt.timedelta(minutes=6)))))
    assert error.code == "TIMESTAMP_IN_FUTURE"


def test_every_wrong_field_is_named_and_no_value_is_quoted() -> None:
    body = orjson.dumps(
        {**orjson.loads(encode(event())), "data": {**DATA, "clicks": -77, "x": "secret"}}
    )
    error = reason(delivery(body))
    assert error.code == "INVALID_EVENT"
    assert "data.clicks: Input should be greater than or equal to 0" in error.reason
    assert "data.x: Extra inputs are not permitted" in error.reason
    assert "77" not in error.reason
    assert "secret" not in error.reason


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_what_cloudevents_requires_has_no_default_on_the_wire(name: str) -> None:
    body = orjson.loads(encode(event()))
    del body[name]
    error = reason(delivery(orjson.dumps(body)))
    assert (error.code, error.reason) == ("INVALID_EVENT", f"{name}: Field required")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 3000,
        b'{"a":' * 1500,
        b"[[]," * 1500 + b"[]" + b"]" * 1500,
        b'{"id": "\\u0000"}',
    ],
)
def test_what_is_no_event_is_refused_in_words(body: bytes) -> None:
    assert reason(delivery(body)).code == "INVALID_EVENT"


@pytest.mark.parametrize(
    "count", [b"9223372036854775808", b"1" + b"0" * 24, b"-1", b"1.5", b'"x"', b"null", b"true"]
)
def test_a_count_that_no_column_holds_is_refused(count: bytes) -> None:
    fields = {**orjson.loads(encode(event()))}
    body = orjson.dumps({**fields, "data": {**DATA, "clicks": 0}})
    body = body.replace(b'"clicks":0', b'"clicks":' + count)
    assert "data.clicks" in reason(delivery(body)).reason


@given(st.binary(max_size=300), st.text(max_size=60), st.booleans())
def test_no_bytes_and_no_key_raise_anything_but_permanent(
    body: bytes,
    key: str,
    returned: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    exchange = topology.RETURN_EXCHANGE if returned else topology.EVENTS_EXCHANGE
    for routing_key in (key, f"{KIND}.claude"):
        with pytest.raises(Permanent):
            decode_delivery(
                delivery(body, key=routing_key, exchange=exchange, headers={KEY: key}),
                TYPES,
                10_000,
            )

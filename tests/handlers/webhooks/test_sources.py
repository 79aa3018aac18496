"""Every source against its recorded payloads, and against whatever anybody may send."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from events import INGRESS_EVENTS, CampaignMetricsReported, Event, WebhookUnrecognised
from events.envelope import encode, now
from handlers.webhooks import SOURCES, InvalidSignature, Unrecognised, build_unrecognised
from infra.deploy.secrets import make_secrets
from infra.settings import Settings
from infra.web.single_headers import find_repeated_headers
from schemas.types import PLATFORMS

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*/*.json"))
GENUINE = {path.parent.name: json.loads(path.read_text()) for path in PAYLOADS}
# The sandbox's platforms share the bodies of ``schemas.webhooks``; another source has its own.
PLATFORM_SOURCES = [source for source in SOURCES if source in PLATFORMS]


def verified(source: str, payload: dict[str, Any], *, body: bytes | None = None) -> str | None:
    signature = SOURCES[source].verify(
        payload["headers"],
        payload["body"].encode() if body is None else body,
        payload["secrets"],
        datetime.fromisoformat(payload["now"]),
    )
    return signature.delivery


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    return bool(whole == part)


def test_every_source_has_its_secret() -> None:
    variables = {f"{source}_webhook_secret" for source in SOURCES}

    assert variables - Settings.model_fields.keys() == set()
    assert {name.upper() for name in variables} - make_secrets().keys() == set()


def test_every_source_has_recorded_payloads() -> None:
    assert set(SOURCES) - set(GENUINE) == set(), "add a delivery in payloads/<source>/"
    assert set(GENUINE) - set(SOURCES) == set(), "add it to SOURCES"


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recorded_payload_is_genuine_and_means_its_events(path: Path) -> None:
    payload = json.loads(path.read_text())
    source = path.parent.name
    delivery = verified(source, payload)
    assert delivery == payload["delivery"]
    found = SOURCES[source].parse_events(payload["body"].encode(), delivery)
    written = [json.loads(encode(event)) for event in found]
    assert len(written) == len(payload["events"])
    for event, expected in zip(written, payload["events"], strict=True):
        assert contains(event, expected), event


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_ingress_may_publish_the_events_of_a_recorded_payload(path: Path) -> None:
    types = {event["type"] for event in json.loads(path.read_text())["events"]}
    allowed = {event.event_type() for event in INGRESS_EVENTS}

    assert types - allowed == set(), "add it to INGRESS_EVENTS"


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recorded_payload_with_a_changed_byte_is_refused(path: Path) -> None:
    payload = json.loads(path.read_text())
    with pytest.raises(InvalidSignature):
        verified(path.parent.name, payload, body=payload["body"].encode() + b"\n")


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_header_of_a_recorded_payload_may_be_repeated(path: Path) -> None:
    for name, value in json.loads(path.read_text())["headers"].items():
        sent = CIMultiDict([(name, value), (name, value)])
        assert find_repeated_headers(sent) is not None, f"add {name.lower()} to SINGLE"


@pytest.mark.parametrize("source", SOURCES)
def test_no_secret_means_no_webhook(source: str) -> None:
    payload = {**GENUINE[source], "secrets": []}
    with pytest.raises(InvalidSignature):
        verified(source, payload)


@pytest.mark.parametrize("source", PLATFORM_SOURCES)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'{"event": "campaign.renamed", "data": {}}', "does not match any"),
        (b'{"data": {}}', "discriminator 'event'"),
        (b'{"event": "campaign.status_changed", "data": {"campaignId": "1"}}', "status"),
        (b'{"event": "campaign.status_changed", "data": {"status": "paused"}}', "campaign_?[iI]d"),
    ],
)
def test_a_body_that_means_nothing_says_why(source: str, body: bytes, reason: str) -> None:
    with pytest.raises(Unrecognised, match=reason):
        SOURCES[source].parse_events(body, None)


@pytest.mark.parametrize(
    "change",
    [
        {"impressions": -1},
        {"clicks": 1.5},
        {"conversions": 2**63},
        {"spend": -0.01},
        {"spend": "NaN"},
        {"spend": 1_000_000_000},
        {"date": 20261122},
        {"date": "yesterday"},
        {"campaignId": "a\x00b"},
        {"campaignId": "x" * 201},
        {"campaignId": 7.5},
        {"campaignId": True},
        {"clicks": True},
        {"clicks": "1.5"},
        {"clicks": "1,200"},
        {"clicks": " 5 "},
        {"clicks": 10**12 + 1},
        {"clicks": "1e99"},
        {"spend": "1.2.3"},
        {"date": "2026-11-22T00:00:00+09:00"},
        {"date": "9999-12-31"},
        {"occurredAt": "2026-11-22T08:00:00"},
        {"occurredAt": 1795334400},
        {"occurredAt": "0001-01-01T00:00:00+23:59"},
        {"occurredAt": "9999-12-31T23:59:59-23:59"},
    ],
)
@pytest.mark.parametrize("source", PLATFORM_SOURCES)
def test_figures_out_of_range_mean_nothing(source: str, change: dict[str, Any]) -> None:
    data = {"campaignId": "1", "date": "2026-11-22", "impressions": 1, "clicks": 1}
    figures = {**data, "conversions": 1, "spend": 1, **change}
    body = json.dumps({"event": "campaign.metrics_updated", "data": figures}).encode()
    with pytest.raises(Unrecognised):
        SOURCES[source].parse_events(body, "delivery")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1200", 1200),
        ('"1200"', 1200),
        ("1200.0", 1200),
        ("1.2e3", 1200),
        ('"1200.0"', 1200),
        ('"12E2"', 1200),
        ('"0"', 0),
        ("-0.0", 0),
        (f'"{10**12}"', 10**12),
    ],
)
@pytest.mark.parametrize("name", ["impressions", "clicks", "conversions", "spend"])
@pytest.mark.parametrize("source", PLATFORM_SOURCES)
def test_a_whole_number_is_read_however_it_is_written(
    source: str, name: str, text: str, value: int
) -> None:
    if name == "spend" and value > 10**9:
        value, text = 999_999_999, '"999999999"'
    figures = dict.fromkeys(["impressions", "clicks", "conversions", "spend"], "1")
    fields = ",".join(f'"{key}":{one}' for key, one in {**figures, name: text}.items())
    data = f'{{"campaign_id":12345678901234567890,"date":"2026-11-22",{fields}}}'
    body = f'{{"id":7,"event":"campaign.metrics_updated","data":{data}}}'.encode()
    for whole in (body, b'{"events":[' + body + b"]}"):
        if source != "gemini" and whole != body:
            continue
        (event,) = SOURCES[source].parse_events(whole, "delivery-1")
        assert isinstance(event, CampaignMetricsReported)
        assert getattr(event.data, name) == value
        assert event.data.platform_campaign_id == "12345678901234567890"


FIGURES = {"campaignId": "1", "impressions": 1, "clicks": 1, "conversions": 1, "spend": 1}


@pytest.mark.parametrize(
    ("delivery", "days_ago", "occurred_at", "timed"),
    [
        ("evt_1", 0, None, True),  # when it was accepted: the inbox knows a repetition by its id
        (None, 0, None, False),
        (None, 0, "2026-11-22T08:00:00Z", True),
        ("evt_1", 60, None, False),  # the inbox may have forgotten the id by now
        ("evt_1", 60, "2026-11-22T08:00:00Z", True),
    ],
)
@pytest.mark.parametrize("source", PLATFORM_SOURCES)
def test_figures_have_a_time_only_if_they_are_no_repetition_for_sure(
    source: str, delivery: str | None, days_ago: int, occurred_at: str | None, *, timed: bool
) -> None:
    day = (now() - timedelta(days=days_ago)).date().isoformat()
    data = {**FIGURES, "date": day, "occurredAt": occurred_at}
    body = json.dumps({"event": "campaign.metrics_updated", "data": data}).encode()
    [event] = SOURCES[source].parse_events(body, delivery)
    assert event.has_time is timed


@pytest.mark.parametrize("source", PLATFORM_SOURCES)
def test_a_state_without_id_and_time_is_a_hint_and_says_no_state(source: str) -> None:
    data = {"campaignId": "1", "status": "paused"}
    body = json.dumps({"event": "campaign.status_changed", "data": data}).encode()
    [check] = SOURCES[source].parse_events(body, None)
    assert check.routing_key == f"campaign.status_check_requested.v1.{source}"
    assert check.data.model_dump() == {"platform": source, "platform_campaign_id": "1"}
    [report] = SOURCES[source].parse_events(body, "evt_1")
    assert (report.type, report.has_time) == ("campaign.status_reported.v1", True)


def test_a_body_that_is_not_understood_is_kept_whole() -> None:
    kept = build_unrecognised("claude", "because", b'{"a": "\xff"}', "evt_9")
    assert (kept.id, kept.source) == ("evt_9", "urn:adrelay:webhook:claude")
    assert (kept.data.body, kept.data.reason) == ('{"a": "\\xff"}', "because")
    assert isinstance(build_unrecognised("claude", "because", b"", None), WebhookUnrecognised)


anything = st.text(max_size=60) | st.sampled_from(["v1,a,b", "v1a,", " ", "v1,abc", "1795334400"])
names = st.sampled_from(
    [
        "x-claude-signature",
        "X-Claude-Signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "Webhook-Signature",
        "content-type",
    ]
)


@given(
    source=st.sampled_from(sorted(SOURCES)),
    headers=st.dictionaries(names, anything),
    body=st.binary(max_size=60),
    secrets=st.lists(anything, max_size=3),
)
def test_only_invalid_signature_ever_leaves_verify(
    source: str, headers: dict[str, str], body: bytes, secrets: list[str]
) -> None:
    with pytest.raises(InvalidSignature):
        SOURCES[source].verify(headers, body, secrets, NOW)


@given(source=st.sampled_from(sorted(SOURCES)), name=names, value=anything, body=st.binary())
def test_only_invalid_signature_leaves_verify_when_all_but_one_thing_is_genuine(
    source: str, name: str, value: str, body: bytes
) -> None:
    payload = GENUINE[source]
    for changed in ({**payload, "headers": {**payload["headers"], name: value}}, payload):
        try:
            verified(source, changed, body=body)
        except InvalidSignature:
            continue
        assert body == payload["body"].encode()


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
keys = st.sampled_from(
    [
        "event",
        "data",
        "id",
        "events",
        "campaignId",
        "campaign_id",
        "status",
        "date",
        "impressions",
        "clicks",
        "conversions",
        "spend",
        "occurredAt",
    ]
)
words = st.sampled_from(["campaign.status_changed", "campaign.metrics_updated", "paused", "live"])
values = st.recursive(
    leaves | words | st.dates().map(str) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=9),
    max_leaves=12,
)


@given(
    source=st.sampled_from(sorted(SOURCES)),
    body=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()),
    delivery=st.none() | st.just("msg_1"),
)
def test_only_unrecognised_ever_leaves_parse_events(
    source: str, body: bytes, delivery: str | None
) -> None:
    try:
        found = SOURCES[source].parse_events(body, delivery)
    except Unrecognised as refusal:
        build_unrecognised(source, refusal.reason, body, delivery)
    else:
        assert all(isinstance(event, Event) and encode(event) for event in found)


@given(
    source=st.sampled_from(PLATFORM_SOURCES),
    data=st.fixed_dictionaries(
        {
            "campaignId": st.text(min_size=1, max_size=20),
            "date": st.dates().map(str) | st.text(max_size=12),
            "spend": st.decimals(allow_nan=True).map(str) | st.floats(),
            "impressions": st.integers(),
            "clicks": st.integers(),
            "conversions": st.integers(),
        },
        optional={"occurredAt": st.datetimes(timezones=st.timezones()).map(str)},
    ),
)
def test_almost_good_figures_are_an_event_or_unrecognised(source: str, data: Any) -> None:
    body = json.dumps({"event": "campaign.metrics_updated", "data": data}).encode()
    try:
        (event,) = SOURCES[source].parse_events(body, "msg_1")
    except Unrecognised:
        return
    assert encode(event)

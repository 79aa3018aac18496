"""Entries of the event log as JSON lines, and the filters: whatever bytes were published."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp.commands import Basic

from infra.amqp.partial_delivery import WholeBody
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LogEntry
from infra.messaging.log_content import write_line
from infra.messaging.log_filter import InvalidField, LogFilter, parse_fields

EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "urn:test",
    "type": "campaign.saved.v1",
    "subject": "c-1",
    "data": {
        "platform": "claude",
        "clicks": 1,
        "paused": True,
        "note": None,
        "tags": ["a", "b"],
        "budget": 1.5,
        "n": "7",
    },
}
KEY = "campaign.saved.v1.claude"
AT = datetime(2026, 11, 30, 8, 0, 5, tzinfo=UTC)
OURS: dict[str, Any] = {"app_id": "adrelay", "timestamp": AT}
BINARY = {
    "cloudEvents_id": "e-1",
    "cloudEvents_source": "urn:test",
    "cloudEvents_type": "campaign.saved.v1",
    "cloudEvents_specversion": "1.0",
}


def entry(
    body: bytes | dict[str, Any] = b"{}",
    key: str = KEY,
    whole: WholeBody | None = None,
    **more: Any,
) -> LogEntry:
    """Make an entry at the offset 7."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    header = Basic.Properties(**{"content_type": "application/cloudevents+json"} | more)
    delivery = Delivery(1, "adrelay.history", "x", key, content, header, whole, redelivered=False)
    return LogEntry(7, delivery)


def line_of(found: LogEntry) -> dict[str, Any]:
    """Parse the line of an entry, which has to be one line."""
    written = write_line(found)
    assert b"\n" not in written
    parsed: dict[str, Any] = json.loads(written)
    return parsed


def test_a_structured_event_is_written_with_its_offset() -> None:
    line = line_of(entry(EVENT, user_id="crm", **OURS))
    known = {
        "offset": 7,
        "published_at": "2026-11-30T08:00:05+00:00",
        "routing_key": KEY,
        "broker_user": "crm",
    }
    assert line == known | EVENT


@pytest.mark.parametrize("number", ["1.10", "12345678901234567890123", "-0.0"])
def test_numbers_stay_as_they_were_written(number: str) -> None:
    body = f'{{\n  "id": "a \\" b  c",\r\n "data": [ {number} ]\n}}'.encode()
    assert write_line(entry(body)).endswith(f',"id":"a \\" b  c","data":[{number}]}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"not JSON",
        b"[1]",
        b'"text"',
        b'{"offset": 3}',
        b'{"a": "\\ud800"}',
        b'{"a": 1e400}',
    ],
)
def test_what_is_no_event_is_written_in_base64(body: bytes) -> None:
    line = line_of(entry(body))
    assert (line["offset"], base64.b64decode(line["body_base64"])) == (7, body)


def test_an_empty_object_is_written() -> None:
    assert line_of(entry(b" {} "))["offset"] == 7


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":\n1.10}', {"data": {"a": 1.1}}),
        (b"null", {"data": None}),
        (b"", {}),
        (b"\x00\x01", {"data_base64": "AAE="}),
    ],
)
def test_a_binary_event_becomes_a_structured_one(body: bytes, expected: dict[str, Any]) -> None:
    line = line_of(entry(body, content_type="application/json", headers=BINARY))
    assert (line["id"], line["type"], line["offset"]) == ("e-1", "campaign.saved.v1", 7)
    assert {name: line[name] for name in line if name.startswith("data")} == expected


def test_a_body_that_is_too_large_is_written_as_far_as_it_was_kept() -> None:
    line = line_of(entry(b'{"id": "e', whole=WholeBody(1000, "ab12")))
    assert base64.b64decode(line["body_base64"]) == b'{"id": "e'
    assert (line["body_bytes"], line["body_sha256"]) == (1000, "ab12")


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("data.platform=claude", True),
        ('data.platform="claude"', True),
        ("data.platform=chatgpt", False),
        ("data.clicks=1", True),
        ("data.clicks=1.0", True),
        ("data.clicks=true", False),
        ('data.clicks="1"', False),
        ("data.paused=true", True),
        ("data.paused=1", False),
        ("data.note=null", True),
        ("data.nothing=null", False),
        ("data.budget=1.50", True),
        ("data.n=7", True),
        ("data.tags.1=b", True),
        ("data.tags.2=b", False),
        ('data.tags=["a", "b"]', True),
        ("data.tags.a=b", False),
        ("data.platform.x=claude", False),
        ("id=e-1", True),
    ],
)
def test_a_field_is_compared_as_text_or_as_a_json_value(
    condition: str,
    *,
    matches: bool,
) -> None:
    assert LogFilter(fields=parse_fields([condition])).matches(entry(EVENT)) is matches


def test_every_field_has_to_match() -> None:
    both = parse_fields(["data.platform=claude", "data.clicks=2"])
    assert not LogFilter(fields=both).matches(entry(EVENT))


@pytest.mark.parametrize("text", ["data", "=x", "data..x=1", ".=1", ""])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="no condition"):
        parse_fields([text])


@pytest.mark.parametrize(
    ("selected", "matches"),
    [
        (LogFilter(types=("campaign.saved.v1",)), True),
        (LogFilter(types=("campaign.sav",)), True),
        (LogFilter(types=("campaign.",)), True),
        (LogFilter(types=("user.", "campaign.")), True),
        (LogFilter(types=("campaign.saved.v10",)), False),
        (LogFilter(types=("campaign.deleted.v1",)), False),
        (LogFilter(subject="c-1", source="urn:test", event_id="e-1"), True),
        (LogFilter(subject="c"), False),
        (LogFilter(source="urn:tes"), False),
        (LogFilter(event_id="e-2"), False),
    ],
)
def test_attributes_are_compared(selected: LogFilter, *, matches: bool) -> None:
    assert selected.matches(entry(EVENT)) is matches
    binary = {**BINARY, "cloudEvents_subject": "c-1"}
    body = json.dumps(EVENT["data"]).encode()
    found = entry(body, content_type="application/json", headers=binary)
    assert selected.matches(found) is matches


def test_the_type_of_what_is_no_event_is_that_of_its_routing_key() -> None:
    assert LogFilter(types=("campaign.saved.v1",)).matches(entry(b"\xff"))
    assert not LogFilter(subject="c-1").matches(entry(b"\xff"))


def test_a_time_is_compared_to_the_second_and_only_if_adrelay_has_written_it() -> None:
    within = datetime(2026, 11, 30, 8, 0, 5, 900_000, tzinfo=UTC)
    later = datetime(2026, 11, 30, 8, 0, 6, tzinfo=UTC)
    earlier = datetime(2026, 11, 30, 8, 0, 4, 999_999, tzinfo=UTC)
    ours = entry(EVENT, **OURS)
    assert LogFilter(since=within, until=within).matches(ours)
    assert not LogFilter(since=later).matches(ours)
    assert not LogFilter(until=earlier).matches(ours)
    assert LogFilter(since=later).matches(entry(EVENT, timestamp=AT))

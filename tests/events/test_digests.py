"""The digest of an event depends neither on how it was encoded nor on the release."""

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from pydantic import BaseModel, create_model

from events import EVENT_TYPES
from events.envelope import Event, EventData, decode, decode_binary
from infra.messaging.digest import content_digest, plan_of
from tests.events import digests

Example = dict[str, Any]


def examples() -> list[Any]:
    return [
        pytest.param(path.stem, example, id=f"{path.stem} {name}")
        for path in sorted(digests.FIXTURES.glob("*.json"))
        for name, example in json.loads(path.read_text()).items()
    ]


def models(cls: Any) -> Iterator[type[BaseModel]]:
    """Find the models of a class and of its fields."""
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        yield cls
        for field in cls.model_fields.values():
            yield from models(field.annotation)
    for part in getattr(cls, "__args__", ()):
        yield from models(part)


def data_of(kind: str) -> type[EventData]:
    found: type[EventData] = EVENT_TYPES[kind].model_fields["data"].annotation  # type: ignore[assignment]
    return found


def respelled(value: Any) -> Any:
    """Encode the same data differently: order of keys, camelCase, other forms of numbers."""
    if isinstance(value, dict):
        renamed = {"age_range": "ageRange"}
        return {renamed.get(k, k): respelled(v) for k, v in reversed(value.items())}
    if isinstance(value, list):
        return [respelled(one) for one in value]
    return value


def test_no_recorded_digest_has_changed() -> None:
    assert digests.current() == digests.recorded(), "run: python -m tests.events.snapshots"


def test_only_an_unshipped_type_gets_new_digests(tmp_path: Path) -> None:
    file, old = tmp_path / "digests.json", dict.fromkeys(digests.current(), "old")
    file.write_text(json.dumps({**old, "it.happened.v1 full": "of a type that is gone"}))

    digests.record(file, unshipped=["login.requested.v1", "it.happened.v1"])

    changed = {name for name, hex_ in digests.recorded(file).items() if hex_ != "old"}
    assert changed == {"login.requested.v1 full", "login.requested.v1 minimal"}
    assert digests.recorded(file).keys() == old.keys()


@pytest.mark.parametrize(("kind", "example"), examples())
def test_order_space_and_spelling_do_not_count(kind: str, example: Example) -> None:
    first = content_digest(decode(EVENT_TYPES[kind], json.dumps(example).encode()))
    loose = json.dumps(respelled(example), indent=3, ensure_ascii=False).encode()
    attributes = {
        name: value
        for name, value in example.items()
        if name not in ("data", "datacontenttype") and isinstance(value, str)
    }
    binary = decode_binary(EVENT_TYPES[kind], attributes, json.dumps(example["data"]).encode())

    assert content_digest(decode(EVENT_TYPES[kind], loose)) == first
    assert content_digest(binary) == first


@pytest.mark.parametrize(("kind", "example"), examples())
def test_a_field_that_a_release_adds_changes_nothing(kind: str, example: Example) -> None:
    body = json.dumps(example).encode()
    fields: dict[str, Any] = dict.fromkeys(("aaa_first", "mmm", "zzz_last"), (int | None, None))
    fields["flag"] = (Literal["old", "new"], "old")
    more = create_model("More", __base__=data_of(kind), **fields)
    later = cast("type[Event]", create_model("Later", __base__=EVENT_TYPES[kind], data=(more, ...)))

    assert content_digest(decode(later, body)) == content_digest(decode(EVENT_TYPES[kind], body))


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_every_default_is_recorded_with_the_schema(kind: str) -> None:
    for model in models(data_of(kind)):
        for name, field in model.model_fields.items():
            assert field.default_factory is None, f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5", "1.500000"),
        ("100", "1e2"),
        ("100", "100.0"),
        ("0.1", '"0.10"'),
        ("0", "0.0"),
    ],
)
def test_an_amount_has_one_form(one: str, other: str) -> None:
    assert content_digest(report(spend=one)) == content_digest(report(spend=other))


def test_a_default_may_be_left_out_or_written() -> None:
    assert content_digest(report(mode='"cumulative"')) == content_digest(report())
    assert content_digest(report(platform_campaign_id="null")) == content_digest(report())


@pytest.mark.parametrize(
    "change",
    [
        {"spend": "1.500001"},
        {"clicks": "3"},
        {"date": '"2026-11-23"'},
        {"mode": '"delta"'},
        {"campaign_id": '"0d3a4f6e-8a0b-5c77-9d51-3f2b8a1c7e91"'},
    ],
)
def test_another_value_is_another_digest(change: dict[str, str]) -> None:
    assert content_digest(report(**change)) != content_digest(report())


def test_a_value_of_every_kind_has_one_form() -> None:
    class Inner(EventData):
        at: dt.datetime
        amounts: tuple[Decimal, ...] = ()

    class Outer(EventData):
        inner: Inner | None = None
        words: frozenset[str] = frozenset()
        large: int = 0
        anything: dict[str, Any] | None = None

    class Sample(Event):
        type: Literal["sample.taken.v1"] = "sample.taken.v1"
        data: Outer

    east, west = dt.timezone(dt.timedelta(hours=9)), dt.UTC
    noon = dt.datetime(2026, 11, 22, 12, tzinfo=east)
    samples = [
        Sample(
            data=Outer(
                inner=Inner(at=noon.astimezone(zone), amounts=(Decimal(amount),)),
                words=frozenset(words),
                large=2**80,
                anything=anything,
            )
        )
        for zone, amount, words, anything in (
            (east, "1.50", ("a", "b", "c"), {"x": 1.0, "y": [0.5]}),
            (west, "1.5", ("c", "b", "a"), {"y": [5e-1], "x": 1}),
        )
    ]
    assert content_digest(samples[0]) == content_digest(samples[1])
    assert plan_of(Outer).converted == ("inner", "words", "anything")


def report(**changes: str) -> Event:
    """Build a metrics report from JSON values."""
    data = {
        "platform": '"claude"',
        "campaign_id": '"0d3a4f6e-8a0b-5c77-9d51-3f2b8a1c7e90"',
        "date": '"2026-11-22"',
        "impressions": "10",
        "clicks": "2",
        "conversions": "1",
        "spend": "1.5",
        **changes,
    }
    fields = ",".join(f'"{name}":{value}' for name, value in data.items())
    body = (
        '{"specversion":"1.0","id":"e-1","source":"urn:test",'
        f'"type":"campaign.metrics_reported.v1","data":{{{fields}}}}}'
    )
    return decode(EVENT_TYPES["campaign.metrics_reported.v1"], body.encode())

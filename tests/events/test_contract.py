"""The contract with readers and writers of events: recorded examples and schemas.

``fixtures/<type>.json`` holds wire examples by name: ``full`` has every attribute of the
envelope, ``minimal`` none that could be left out. ``schemas/<type>.json`` is what was shipped.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import create_model

import events
from events import EVENT_TYPES, EVENTS, CampaignSaved
from events.envelope import REQUIRED_ATTRIBUTES, Event, EventData, decode, encode
from infra.amqp import topology, topology_declaration
from schemas.types import PLATFORMS
from tests.events import snapshots

FIXTURES = Path(__file__).parent / "fixtures"
Example = dict[str, Any]


def examples_of(kind: str) -> dict[str, Example]:
    examples: dict[str, Example] = json.loads((FIXTURES / f"{kind}.json").read_text())
    return examples


def examples(name: str = "") -> list[Any]:
    return [
        pytest.param(path.stem, example, id=f"{path.stem} {found}")
        for path in sorted(FIXTURES.glob("*.json"))
        for found, example in examples_of(path.stem).items()
        if name in ("", found)
    ]


def read(kind: str, example: Example) -> Event:
    return decode(EVENT_TYPES[kind], json.dumps(example).encode())


def is_event(kind: str, example: Example) -> bool:
    try:
        read(kind, example)
    except ValueError:
        return False
    return True


def subclasses(cls: type[Event]) -> Iterator[type[Event]]:
    for below in cls.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_class_of_an_event_is_in_the_catalogue() -> None:
    for module in pkgutil.iter_modules(events.__path__):
        importlib.import_module(f"events.{module.name}")
    classes = {cls for cls in subclasses(Event) if cls.__module__.startswith("events.")}
    types = {cls for cls in classes if not cls.model_fields["type"].is_required()}

    assert types - set(EVENTS) == set(), "add it to EVENTS in events/__init__.py"


def test_every_event_type_has_its_examples_and_no_example_is_without_a_type() -> None:
    fixtures = {path.stem for path in FIXTURES.iterdir()}

    assert set(EVENT_TYPES) - fixtures == set(), f"add <type>.json in {FIXTURES}"
    assert fixtures - set(EVENT_TYPES) == set(), "no event has this type"
    for kind in EVENT_TYPES:
        assert {"full", "minimal"} <= examples_of(kind).keys(), kind


@pytest.mark.parametrize(("kind", "example"), examples())
def test_an_example_decodes_and_encodes_to_the_same_data(kind: str, example: Example) -> None:
    event = read(kind, example)
    written = json.loads(encode(event))

    assert type(event) is EVENT_TYPES[kind]
    assert {name: written[name] for name in example if name != "data"} == {
        name: value for name, value in example.items() if name != "data"
    }
    assert {name: written["data"][name] for name in example["data"]} == example["data"]
    assert decode(EVENT_TYPES[kind], encode(event)) == event


@pytest.mark.parametrize(("kind", "example"), examples("full"))
def test_the_full_example_is_written_as_it_was_read(kind: str, example: Example) -> None:
    assert set(example) == set(EVENT_TYPES[kind].model_fields)
    assert json.loads(encode(read(kind, example))) == example


@pytest.mark.parametrize(("kind", "example"), examples("minimal"))
def test_the_minimal_example_has_nothing_to_spare(kind: str, example: Example) -> None:
    assert set(example) == {*REQUIRED_ATTRIBUTES, "data"}
    for name in example["data"]:
        data = {other: value for other, value in example["data"].items() if other != name}
        assert not is_event(kind, {**example, "data": data}), name
    for name in example:
        rest = {other: value for other, value in example.items() if other != name}
        assert not is_event(kind, rest), name


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_the_examples_of_a_type_show_all_of_its_data(kind: str) -> None:
    shown = {name for example in examples_of(kind).values() for name in example["data"]}

    assert shown == set(EVENT_TYPES[kind].model_fields["data"].annotation.model_fields)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "example"), examples("full"))
def test_unknown_data_is_refused_and_extensions_are_kept(kind: str, example: Example) -> None:
    assert not is_event(kind, {**example, "data": {**example["data"], "nobody_knows": 1}})

    extended = {**example, "partitionkey": "abc"}

    assert json.loads(encode(read(kind, extended))) == extended


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_a_shipped_version_is_not_broken(kind: str) -> None:
    old = {name: schema for name, schema in snapshots.recorded().items() if name == kind}

    assert snapshots.broken(old, {kind: snapshots.schema_of(EVENT_TYPES[kind])}) == {}


def test_the_recorded_schemas_are_those_of_the_catalogue() -> None:
    current = {kind: snapshots.schema_of(cls) for kind, cls in EVENT_TYPES.items()}

    assert snapshots.recorded() == current, "run: python -m tests.events.snapshots"


def test_a_breaking_edit_is_not_recorded_and_an_additive_one_is(tmp_path: Path) -> None:
    class Old(EventData):
        name: str

    class Extended(EventData):
        name: str
        note: str = ""

    class Renamed(EventData):
        title: str

    def of(data: type[EventData]) -> dict[str, type[Event]]:
        kind = "it.happened.v1"
        fields: Any = {"type": (Literal["it.happened.v1"], kind), "data": (data, ...)}
        return {kind: create_model("Happened", __base__=Event, **fields)}

    assert snapshots.record(of(Old), tmp_path) == {}
    assert snapshots.record(of(Extended), tmp_path) == {}
    assert snapshots.record(of(Old), tmp_path) == {"it.happened.v1": ["data.note: it is gone"]}
    assert snapshots.record(of(Renamed), tmp_path)
    assert snapshots.record({}, tmp_path) == {"it.happened.v1": ["the whole type is gone"]}

    assert snapshots.record(of(Renamed), tmp_path, unshipped=["it.happened.v1"]) == {}
    assert (
        "title" in snapshots.recorded(tmp_path)["it.happened.v1"]["$defs"]["Renamed"]["properties"]
    )


def test_every_event_type_is_in_a_queue_or_a_fact_without_a_worker_by_design() -> None:
    wanted = {event for queue in topology.WORK_QUEUES for event in queue.events}
    wanted |= {event for queue in topology.REQUEST_QUEUES for event in queue.events}

    routed = wanted | {*topology.HISTORY_ONLY_EVENTS}

    assert set(EVENTS) - routed == set(), "add it to a queue or HISTORY_ONLY_EVENTS in topology.py"
    assert routed <= set(EVENTS)
    assert not wanted & {*topology.HISTORY_ONLY_EVENTS}


@pytest.mark.parametrize(("kind", "example"), examples("full"))
def test_the_routing_key_of_an_example_reaches_a_queue(kind: str, example: Example) -> None:
    cls = EVENT_TYPES[kind]
    platforms = PLATFORMS if cls.routed_by_platform else (None,)
    for platform in platforms:
        data = example["data"] if platform is None else {**example["data"], "platform": platform}
        key = read(kind, {**example, "data": data}).routing_key
        reached = [
            queue.name
            for queue in topology_declaration.queues()
            for exchange, pattern in queue.bindings
            if exchange in (topology.WORK_EXCHANGE, topology.REQUEST_EXCHANGE)
            and matches(pattern, key)
        ]
        assert len(reached) == 1, f"{key} reaches {reached}"


def test_a_routing_key_is_matched_as_a_topic_exchange_does() -> None:
    assert matches("campaign.saved.v1.#", "campaign.saved.v1")
    assert matches("campaign.saved.v1.#", "campaign.saved.v1.claude")
    assert not matches("campaign.saved.v1.claude", CampaignSaved.event_type())
    assert not matches("campaign.saved.v1", "campaign.saved.v1.claude")


def matches(pattern: str, key: str) -> bool:
    """Match as a topic exchange does; Adrelay's patterns have ``#`` at their end only."""
    stem, wild, _ = pattern.partition(".#")
    return key == stem or (bool(wild) and key.startswith(f"{stem}."))

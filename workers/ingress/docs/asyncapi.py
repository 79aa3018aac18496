"""Builds the AsyncAPI 3.0 document from the event types and the topology.

    one channel for each event type: its routing key on its exchange   (Adrelay sends there)
    one channel for each work queue: the events that it is bound to    (Adrelay receives)

The parts are typed dicts of the few objects that are used: of the libraries with typed models,
asyncapi-schema-pydantic knows AsyncAPI 2 alone (last release 2023), and asyncapi3 is at 0.0.2.
"""

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from events import EVENT_TYPES, UPSTREAM_EVENTS
from events.envelope import CONTENT_TYPE, Event
from infra.amqp import topology
from infra.amqp.topology import RequestQueue, WorkQueue
from schemas.types import PLATFORMS

EventQueue = WorkQueue | RequestQueue

SCHEMA_REF = "#/components/schemas/{model}"

Ref = TypedDict("Ref", {"$ref": str})
# The AMQP binding of a channel: ``is`` is a keyword of Python.
ChannelBinding = TypedDict(
    "ChannelBinding",
    {
        "is": Literal["routingKey", "queue"],
        "exchange": NotRequired[dict[str, str | bool]],
        "queue": NotRequired[dict[str, str | bool]],
    },
)


class Channel(TypedDict):
    """A channel: where messages are sent to or received from."""

    address: str
    messages: dict[str, Ref]
    bindings: dict[Literal["amqp"], ChannelBinding]
    parameters: NotRequired[dict[str, dict[str, list[str]]]]


class ChannelOperation(TypedDict):
    """What Adrelay does with a channel."""

    action: Literal["send", "receive"]
    channel: Ref


class EventMessage(TypedDict):
    """A message of an event type."""

    name: str
    summary: str
    contentType: str
    correlationId: dict[Literal["location"], str]
    payload: Any  # the JSON Schema that pydantic has generated


def build_asyncapi() -> dict[str, Any]:
    """Build the document of every event type and every queue that a worker reads."""
    schemas, messages = _messages()
    queues: list[EventQueue] = [*topology.WORK_QUEUES, *topology.REQUEST_QUEUES]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Adrelay",
            "version": "1",
            "description": (
                "CloudEvents 1.0 on RabbitMQ. Upstream systems may publish "
                f"{', '.join(event.event_type() for event in UPSTREAM_EVENTS)} to "
                f"{topology.EVENTS_EXCHANGE}, in structured mode or in binary mode "
                "(cloudEvents_ headers), "
                "each message with the property user_id, the publisher's user of the broker. "
                "Systems that listen may bind queues of their own to it."
            ),
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            **{kind: _event_channel(event) for kind, event in EVENT_TYPES.items()},
            **{queue.name: _queue_channel(queue) for queue in queues},
        },
        "operations": {
            **{f"send.{kind}": _send(kind) for kind in EVENT_TYPES},
            **{f"receive.{queue.name}": _receive(queue) for queue in queues},
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _messages() -> tuple[dict[str, Any], dict[str, EventMessage]]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (kind, "validation", TypeAdapter(event)) for kind, event in EVENT_TYPES.items()
    ]
    made, definitions = TypeAdapter.json_schemas(inputs, by_alias=False, ref_template=SCHEMA_REF)
    messages: dict[str, EventMessage] = {
        kind: {
            "name": kind,
            "summary": (event.__doc__ or "").partition("\n")[0],
            "contentType": CONTENT_TYPE,
            "correlationId": {"location": "$message.payload#/correlationid"},
            "payload": made[kind, "validation"],
        }
        for kind, event in EVENT_TYPES.items()
    }
    return definitions["$defs"], messages


def _event_channel(event: type[Event]) -> Channel:
    kind = event.event_type()
    channel: Channel = {
        "address": f"{kind}.{{platform}}" if event.routed_by_platform else kind,
        "messages": _refs([event]),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": _get_exchange(event), "type": "topic", "durable": True},
            }
        },
    }
    if event.routed_by_platform:
        channel["parameters"] = {"platform": {"enum": list(PLATFORMS)}}
    return channel


def _queue_channel(queue: EventQueue) -> Channel:
    return {
        "address": queue.name,
        "messages": _refs(queue.events),
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue.name, "durable": True}}},
    }


def _send(kind: str) -> ChannelOperation:
    return {"action": "send", "channel": {"$ref": f"#/channels/{kind}"}}


def _receive(queue: EventQueue) -> ChannelOperation:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{queue.name}"}}


def _refs(events: Iterable[type[Event]]) -> dict[str, Ref]:
    kinds = [event.event_type() for event in events]
    return {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds}


def _get_exchange(event: type[Event]) -> str:
    requests = {one for queue in topology.REQUEST_QUEUES for one in queue.events}
    return topology.REQUEST_EXCHANGE if event in requests else topology.EVENTS_EXCHANGE

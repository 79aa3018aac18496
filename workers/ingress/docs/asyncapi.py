"""The events as an AsyncAPI 3.0 document, made from the catalogue and the topology.

one channel for each event type: its routing key on its exchange (Adrelay sends there)
one channel for each work queue: the events that it is bound to   (Adrelay receives)
"""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from events import EVENT_TYPES, UPSTREAM_EVENTS
from events.envelope import CONTENT_TYPE, Event
from infra.amqp import topology
from infra.amqp.topology import RequestQueue, WorkQueue
from schemas.types import PLATFORMS

Queue = WorkQueue | RequestQueue

SCHEMA_REF = "#/components/schemas/{model}"


def build_asyncapi() -> dict[str, Any]:
    """Describe every event type and every queue that a worker reads."""
    schemas, messages = _messages()
    queues: list[Queue] = [*topology.WORK_QUEUES, *topology.REQUEST_QUEUES]
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


def _messages() -> tuple[dict[str, Any], dict[str, Any]]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (kind, "validation", TypeAdapter(event)) for kind, event in EVENT_TYPES.items()
    ]
    made, definitions = TypeAdapter.json_schemas(inputs, by_alias=False, ref_template=SCHEMA_REF)
    messages = {
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


def _event_channel(event: type[Event]) -> dict[str, Any]:
    kind = event.event_type()
    channel: dict[str, Any] = {
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


def _queue_channel(queue: Queue) -> dict[str, Any]:
    return {
        "address": queue.name,
        "messages": _refs(queue.events),
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue.name, "durable": True}}},
    }


def _send(kind: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{kind}"}}


def _receive(queue: Queue) -> dict[str, Any]:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{queue.name}"}}


def _refs(events: Iterable[type[Event]]) -> dict[str, Any]:
    kinds = [event.event_type() for event in events]
    return {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds}


def _get_exchange(event: type[Event]) -> str:
    requests = {one for queue in topology.REQUEST_QUEUES for one in queue.events}
    return topology.REQUEST_EXCHANGE if event in requests else topology.EVENTS_EXCHANGE

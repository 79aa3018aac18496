"""Compares the broker's exchanges, queues and bindings with the topology, in words.

What is missing can be declared at any time. What exists otherwise can never be changed in place:
AMQP 0-9-1 declares a name once, with its arguments. What is there beside ours is never removed
here, because somebody may need it.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from infra.amqp import topology, topology_declaration
from infra.amqp.broker_listing import BrokerListing
from infra.amqp.difference import Change, Difference, describe_values
from infra.amqp.topology_declaration import BindingDeclaration, QueueDeclaration

QUEUE_DEFAULTS = {
    "durable": True,
    "auto_delete": False,
    "exclusive": False,
    "x-queue-type": "classic",
}
ENDS = ("source", "destination_type", "destination", "routing_key")
APPLY = "adrelay topology apply --yes"
# Other systems may bind their queues to this one alone.
PUBLIC_EXCHANGE = topology.EVENTS_EXCHANGE


def compare_topology(listing: BrokerListing) -> list[Difference]:
    """Compare exchanges, queues and bindings; exchanges first, so that changes succeed in order."""
    return [
        *_compare_exchanges(listing),
        *_compare_queues(listing),
        *_compare_bindings(listing),
        *_find_strangers(listing),
    ]


def _compare_exchanges(listing: BrokerListing) -> Iterator[Difference]:
    known = {entry["name"]: entry for entry in listing.exchanges}
    for exchange in topology_declaration.exchanges():
        part = f"exchange {exchange.name}"
        wanted = exchange.properties
        found = known.get(exchange.name)
        if found is None:
            change = Change("PUT", ("exchanges", listing.vhost, exchange.name), wanted)
            yield Difference("missing", part, f"{part} is missing", change=change)
        elif values := describe_values(_flatten(found, wanted), _flatten(wanted, wanted), {}):
            way_out = (
                "an exchange holds no messages; until it is there again, what HTTP accepts waits in"
                " the outbox, and what other systems publish is refused: curl -sS -X DELETE"
                f' "$RABBITMQ_MANAGEMENT_URL/api/exchanges/{_quote(listing.vhost)}/{exchange.name}"'
                f" && {APPLY} && adrelay broker requeue-unrouted"
            )
            words = f"{part} has other properties: {values}: cannot be changed in place"
            yield Difference("changed", part, words, way_out)


def _flatten(entry: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, object]:
    """Put the properties and the arguments of an entry into one mapping."""
    return {name: entry[name] for name in names if name != "arguments"} | dict(entry["arguments"])


def _compare_queues(listing: BrokerListing) -> Iterator[Difference]:
    known = {entry["name"]: entry for entry in listing.queues}
    names = ("durable", "auto_delete", "exclusive", "arguments")
    for queue in topology_declaration.queues():
        part = f"queue {queue.name}"
        found = known.get(queue.name)
        if found is None:
            change = Change("PUT", ("queues", listing.vhost, queue.name), queue.properties)
            yield Difference("missing", part, f"{part} is missing", change=change)
            continue
        found = {**found, "arguments": topology_declaration.drop_old_arguments(found)}
        entry = {"auto_delete": False, "exclusive": False, **found}
        values = describe_values(
            _flatten(entry, dict.fromkeys(names)), queue.arguments, QUEUE_DEFAULTS
        )
        if values:
            words = f"{part} has other arguments: {values}: cannot be changed in place"
            messages = int(found.get("messages") or 0)
            yield Difference("changed", part, words, _replace_queue(listing, queue, messages))


def _replace_queue(listing: BrokerListing, queue: QueueDeclaration, messages: int) -> str:
    """Say how to delete a queue that has to be declared again, without losing what it holds."""
    if queue.name == topology.EVENT_LOG:
        first = "its messages are lost with it (adrelay history export writes them to a file first)"
    elif queue.name == topology.UNROUTED:
        first = "send its messages again first (adrelay broker requeue-unrouted)"
    elif queue.name in map(topology.retry_exchange, topology.RETRY_TIERS):
        first = "its messages return to their queues by themselves when their time is over"
    else:
        first = "let its worker read it until it is empty"
    if_empty = "" if queue.name == topology.EVENT_LOG else " --if-empty"
    return (
        f"it has {messages} messages: {first}; then rabbitmqctl delete_queue {queue.name}"
        f"{if_empty} --vhost {listing.vhost} && {APPLY} && adrelay broker requeue-unrouted"
    )


def _compare_bindings(listing: BrokerListing) -> Iterator[Difference]:
    wanted = topology_declaration.bindings()
    listed = {
        BindingDeclaration(*(str(entry[end]) for end in ENDS)): str(entry["properties_key"])
        for entry in listing.bindings
        if entry["source"]  # every queue is bound to the default exchange
    }
    for binding in wanted:
        source, kind, destination, key = binding
        if binding not in listed:
            part = f"{kind} {destination}"
            path = ("bindings", listing.vhost, "e", source, kind[0], destination)
            change = Change("POST", path, {"routing_key": key, "arguments": {}})
            words = f"{part} lacks the binding {_show_key(key)} on {source}"
            yield Difference("missing", part, words, change=change)
    for binding, properties_key in sorted(listed.items()):
        if binding not in wanted and (reason := _judge_binding(binding)):
            source, kind, destination, key = binding
            address = "/".join(
                map(_quote, (listing.vhost, "e", source, kind[0], destination, properties_key))
            )
            words = f"{kind} {destination} has the binding {_show_key(key)} on {source}: {reason}"
            way_out = (
                "if nobody needs it: curl -sS -X DELETE"
                f' "$RABBITMQ_MANAGEMENT_URL/api/bindings/{address}"'
            )
            yield Difference("extra", f"{kind} {destination}", words, way_out)


def _judge_binding(binding: BindingDeclaration) -> str | None:
    """Say what is wrong with a binding that the topology does not have; None if nothing is."""
    source, kind, destination, _ = binding
    exchanges = {exchange.name for exchange in topology_declaration.exchanges()}
    queues = {queue.name for queue in topology_declaration.queues()}
    if destination in (queues if kind == "queue" else exchanges):
        if kind == "queue":
            return "Adrelay does not make it, and what it brings may be of no use there"
        return "Adrelay does not make it; what comes this way was not published by a checked user"
    if source in exchanges and source != PUBLIC_EXCHANGE:
        return f"only Adrelay's own queues are bound to {source}; others use {PUBLIC_EXCHANGE}"
    return None


def _find_strangers(listing: BrokerListing) -> Iterator[Difference]:
    """Find exchanges and queues with names like ours that the topology does not have."""
    queues = {queue.name for queue in topology_declaration.queues()}
    exchanges = {exchange.name for exchange in topology_declaration.exchanges()}
    prefixes = tuple(sorted({f"{name.partition('.')[0]}." for name in queues | exchanges}))
    for kind, entries, ours in (
        ("exchange", listing.exchanges, exchanges),
        ("queue", listing.queues, queues),
    ):
        for entry in entries:
            name = str(entry["name"])
            if name in ours or not name.startswith(prefixes):
                continue
            count = f" ({entry.get('messages') or 0} messages)" if kind == "queue" else ""
            words = f"{kind} {name} has a name like Adrelay's and is not in the topology{count}"
            way_out = "of an earlier version: delete it when it is empty; else give it another name"
            yield Difference("extra", f"{kind} {name}", words, way_out)


def _show_key(key: str) -> str:
    return key or "(empty)"


def _quote(segment: str) -> str:
    return quote(segment, safe="")

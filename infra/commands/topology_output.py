"""Prints a broker's topology and how it differs, for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.amqp import topology_declaration
from infra.amqp.broker_listing import BrokerListing
from infra.amqp.difference import Difference
from infra.amqp.permissions import broker_users
from infra.amqp.policies import LogRetention, policies
from infra.commands.output import print_error, print_json, print_table

COLUMNS = ("PART", "PROPERTIES", "BOUND TO", "STATE")


def print_parts(
    listing: BrokerListing,
    differences: Sequence[Difference],
    retention: LogRetention,
    *,
    as_json: bool,
) -> None:
    """Print each part of the topology with what the broker has of it, then what is beside it."""
    states: dict[str, list[str]] = {}
    for difference in differences:
        states.setdefault(difference.part, []).append(difference.words)
    rows = list(_parts(listing, retention))
    known = {part for part, _, _ in rows}
    rows += [(part, "not in the topology", "") for part in states if part not in known]
    for part, properties, bound in rows if as_json else ():
        found = {"part": part, "properties": properties, "bindings": bound}
        print_json(found | {"state": states.get(part, ["ok"])})
    if not as_json:
        print_table(COLUMNS, [(*row, "; ".join(states.get(row[0], ["ok"]))) for row in rows])
    print_unseen(listing, as_json=as_json)


def _parts(listing: BrokerListing, retention: LogRetention) -> Iterator[tuple[str, str, str]]:
    bound: dict[str, list[str]] = {}
    for binding in topology_declaration.bindings():
        part = f"{binding.kind} {binding.destination}"
        bound.setdefault(part, []).append(f"{binding.source} ({binding.routing_key})")
    for exchange in topology_declaration.exchanges():
        part = f"exchange {exchange.name}"
        alternate = f"alternate {exchange.alternate}" if exchange.alternate else ""
        words = (exchange.type.value, "internal" * exchange.internal, alternate)
        yield part, ", ".join(filter(None, words)), ", ".join(bound.get(part, ()))
    counts = {entry["name"]: entry for entry in listing.queues}
    for queue in sorted(topology_declaration.queues(), key=lambda queue: queue.name):
        part = f"queue {queue.name}"
        yield part, _describe_queue(queue.arguments, counts.get(queue.name)), ", ".join(bound[part])
    for name, policy in policies(retention).items():
        values = ", ".join(f"{key} {value}" for key, value in policy["definition"].items())
        yield f"policy {name}", values, ""
    for user in broker_users() if listing.users is not None else ():
        yield f"user {user.name}", user.tags, ""


def _describe_queue(arguments: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    kind = str(arguments["x-queue-type"])
    if found is None:
        return kind
    messages, consumers = found.get("messages") or 0, found.get("consumers") or 0
    return f"{kind}, {messages} messages, {consumers} consumers"


def print_differences(differences: Sequence[Difference], *, as_json: bool) -> None:
    """Print each difference with what to do about it."""
    if as_json:
        for found in differences:
            entry = {"kind": found.kind, "part": found.part, "words": found.words}
            print_json(entry | {"safe": found.is_safe, "way_out": found.way_out})
        return
    for found in differences:
        print_table((), [(f"{found.kind}: {found.words}",)], header=False)
        way_out = found.way_out or "adrelay topology apply does it"
        print_table((), [(f"    {way_out}",)], header=False)
    if not differences:
        print("the broker has what the topology names")


def print_unseen(listing: BrokerListing, *, as_json: bool) -> None:
    """Say why users and permissions were not compared, if they were not."""
    if listing.unseen is None:
        return
    words = f"users and permissions were not compared ({listing.unseen}): set"
    words += " RABBITMQ_MANAGEMENT_URL to the URL of an administrator for this command"
    if as_json:
        print_json({"kind": "unseen", "part": "users", "words": words, "safe": False})
    else:
        print_error(words)

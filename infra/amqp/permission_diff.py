"""Compares the broker's policies, users and permissions with the code's, in words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.amqp import topology_declaration
from infra.amqp.broker_listing import BrokerListing, Entries
from infra.amqp.difference import Change, Difference
from infra.amqp.permissions import (
    NO_ACCESS,
    BrokerUser,
    broker_users,
    permission_definitions,
)
from infra.amqp.policies import LogRetention, policies

RIGHTS = ("configure", "write", "read")
# How ``apply-to`` names the kinds of queues, since 3.12.
QUEUE_KINDS = {"quorum": "quorum_queues", "stream": "streams", "classic": "classic_queues"}
MAX_PATTERN = 120  # characters of an expression in a sentence


def compare_policies(listing: BrokerListing, retention: LogRetention) -> Iterator[Difference]:
    """Compare Adrelay's policies, and find others that apply to its queues."""
    known_policies = {entry["name"]: entry for entry in listing.policies}
    ours = policies(retention)
    for name, wanted in ours.items():
        part, found = f"policy {name}", known_policies.get(name)
        change = Change("PUT", ("policies", listing.vhost, name), wanted)
        if found is None:
            yield Difference("missing", part, f"{part} is missing", change=change)
        elif differing := [field for field in wanted if found.get(field) != wanted[field]]:
            words = f"{part} differs in {' and '.join(differing)}"
            yield Difference("changed", part, words, change=change)
    for queue in topology_declaration.queues():
        kind = QUEUE_KINDS[queue.arguments["x-queue-type"]]
        for title, entries in (
            ("policy", listing.policies),
            ("operator policy", listing.operator_policies),
        ):
            applied = _find_applied(entries, queue.name, kind)
            if applied is not None and applied["name"] not in ours:
                yield _describe_foreign(listing, queue.name, title, applied)


def _find_applied(entries: Entries, queue: str, kind: str) -> Mapping[str, Any] | None:
    """Find the policy that the broker applies to a queue: of those that match, the highest.

    The broker's own word (``policy`` of a queue) is up to five seconds old.
    """
    matching = [
        policy
        for policy in entries
        if policy["apply-to"] in ("all", "queues", kind) and _matches(policy["pattern"], queue)
    ]
    return max(matching, key=lambda policy: int(policy["priority"]), default=None)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # of PCRE, and not of Python
        return False


def _describe_foreign(
    listing: BrokerListing, queue: str, title: str, policy: Mapping[str, Any]
) -> Difference:
    values = ", ".join(f"{key} {value}" for key, value in policy["definition"].items())
    words = f"{title} {policy['name']} applies to queue {queue} and sets {values}"
    way_out = (
        "let its pattern leave out Adrelay's queues, or: rabbitmqctl"
        f" clear_{title.replace(' ', '_')} {policy['name']} --vhost {listing.vhost}"
    )
    return Difference("extra", f"queue {queue}", words, way_out)


def compare_permissions(listing: BrokerListing) -> Iterator[Difference]:
    """Compare users and permissions; nothing where the caller may not see them."""
    if listing.users is None or listing.permissions is None or listing.topic_permissions is None:
        return
    known = {entry["name"]: entry for entry in listing.users}
    present = [user for user in broker_users() if user.name in known]
    if not present:
        words = "the broker has none of Adrelay's users: its processes have the rights of others"
        yield Difference("note", "users", words, _MAKE_USERS)
        return
    for user in broker_users():
        if user.name not in known:
            words = f"user {user.name} is missing, and a new one needs a password"
            yield Difference("missing", f"user {user.name}", words, _MAKE_USERS)
        else:
            yield from _compare_tags(user, known[user.name])
    names = {user.name for user in present}
    wanted = permission_definitions(listing.vhost)
    allowed = [entry for entry in wanted["permissions"] if entry["user"] in names]
    topics = [entry for entry in wanted["topic_permissions"] if entry["user"] in names]
    yield from _compare_rights(listing, allowed, listing.permissions)
    yield from _compare_topics(listing, topics, listing.topic_permissions)


_MAKE_USERS = (
    "adrelay topology export --passwords FILE > definitions.json &&"
    " rabbitmqctl import_definitions definitions.json"
)


def _compare_tags(user: BrokerUser, found: Mapping[str, Any]) -> Iterator[Difference]:
    given = found.get("tags") or []
    tags = sorted(given.split(",") if isinstance(given, str) else given)  # text until 3.8
    if tags != [tag for tag in [user.tags] if tag]:
        part, wanted = f"user {user.name}", user.tags or "none"
        words = f"{part} has the tags {', '.join(tags) or 'none'} instead of {wanted}"
        way_out = f"rabbitmqctl set_user_tags {user.name} {user.tags}".rstrip()
        yield Difference("changed", part, words, way_out)


def _compare_rights(
    listing: BrokerListing, wanted: Entries, listed: Entries
) -> Iterator[Difference]:
    known = {entry["user"]: entry for entry in listed}
    for entry in wanted:
        name, part = entry["user"], f"user {entry['user']}"
        rights = {right: entry[right] for right in RIGHTS}
        change = Change("PUT", ("permissions", listing.vhost, name), rights)
        found = known.get(name)
        if found is None:
            words = f"{part} has no permissions on vhost {listing.vhost}"
            yield Difference("missing", part, words, change=change)
        else:
            for right in RIGHTS:
                if found[right] != entry[right]:
                    words = f"{part} {_compare_names(right, found[right], entry[right])}"
                    yield Difference("changed", part, words, change=change)


def _compare_topics(
    listing: BrokerListing, wanted: Entries, listed: Entries
) -> Iterator[Difference]:
    known = {(entry["user"], entry["exchange"]): entry for entry in listed}
    for entry in wanted:
        name, exchange = entry["user"], entry["exchange"]
        part = f"user {name}"
        body = {right: entry[right] for right in ("exchange", "write", "read")}
        change = Change("PUT", ("topic-permissions", listing.vhost, name), body)
        found = known.pop((name, exchange), None)
        if found is None:
            words = f"{part} may publish every type to {exchange}: its topic permission is missing"
            yield Difference("missing", part, words, change=change)
        elif found["write"] != entry["write"] or found["read"] != entry["read"]:
            values = _compare_names("publish", found["write"], entry["write"])
            words = f"{part} {values} on exchange {exchange}"
            yield Difference("changed", part, words, change=change)


def _compare_names(right: str, found: str, wanted: str) -> str:
    """Say what a pattern allows too much and too little, by the names in it."""
    theirs, ours = _alternatives(found), _alternatives(wanted)
    if theirs is None or ours is None:
        return f"may {right} {_cut(found)} instead of {_cut(wanted)}"
    lacks, may = sorted(ours - theirs), sorted(theirs - ours)
    parts = [f"may not {right} {', '.join(lacks)}"] * bool(lacks)
    parts += [f"may {right} {', '.join(may)} as well"] * bool(may)
    return " and ".join(parts) or f"may {right} the same by another expression"


def _alternatives(pattern: str) -> set[str] | None:
    r"""Read the alternatives of ``^(a\.b|c)\z`` as names; None for another expression."""
    if pattern in (NO_ACCESS, ""):
        return set()
    body = re.fullmatch(r"\^\((.*)\)\\z", pattern)
    if body is None:
        return None
    names, depth = [""], 0
    for character in body[1]:
        depth += (character == "(") - (character == ")")
        if character == "|" and not depth:
            names.append("")
        else:
            names[-1] += character
    return {_to_name(name) for name in names}


def _to_name(expression: str) -> str:
    """Write the expression of one name as that name, ``[.platform]`` for an optional platform."""
    without = re.sub(r"\(\\\..*\)\?$", "[.platform]", expression)
    return re.sub(r"\\(?=[.\-])", "", without)


def _cut(pattern: str) -> str:
    return pattern if len(pattern) <= MAX_PATTERN else f"{pattern[:MAX_PATTERN]}…"

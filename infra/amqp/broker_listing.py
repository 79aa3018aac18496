"""What a broker has, as its management API lists it: read once, compared with the topology.

A user without the tag ``administrator`` is shown no users and permissions; then they are None and
``unseen`` says why. Newer brokers show a user only the queues that it has a permission on
(https://github.com/rabbitmq/rabbitmq-server/pull/16272).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from infra.amqp.management_api import ManagementApi, ManagementApiError

Entries = Sequence[Mapping[str, Any]]

QUEUE_COLUMNS = (
    "name",
    "durable",
    "auto_delete",
    "exclusive",
    "arguments",
    "messages",
    "consumers",
)
REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class BrokerListing:
    """The objects of a vhost; what the caller may not see is None, and ``unseen`` says why."""

    vhost: str
    exchanges: Entries
    queues: Entries
    bindings: Entries
    policies: Entries
    operator_policies: Entries
    users: Entries | None = None
    permissions: Entries | None = None
    topic_permissions: Entries | None = None
    unseen: str | None = None


async def read_listing(api: ManagementApi, vhost: str, timeout: float) -> BrokerListing:  # noqa: ASYNC109 - of each request
    """List a vhost; ``timeout`` is in seconds. Raises what ``ManagementApi.call`` raises."""
    columns = "columns=" + ",".join(QUEUE_COLUMNS)
    objects = await asyncio.gather(
        api.call("GET", "exchanges", vhost, timeout=timeout),
        api.call("GET", "queues", vhost, query=columns, timeout=timeout),
        api.call("GET", "bindings", vhost, timeout=timeout),
        api.call("GET", "policies", vhost, timeout=timeout),
        api.call("GET", "operator-policies", vhost, timeout=timeout),
    )
    try:
        users = await api.call("GET", "users", timeout=timeout)
        access = await asyncio.gather(
            api.call("GET", "vhosts", vhost, "permissions", timeout=timeout),
            api.call("GET", "vhosts", vhost, "topic-permissions", timeout=timeout),
        )
    except ManagementApiError as error:
        if error.status not in REFUSED:
            raise
        return BrokerListing(vhost, *objects, unseen=str(error))
    return BrokerListing(vhost, *objects, users, *access)

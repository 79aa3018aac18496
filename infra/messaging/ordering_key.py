"""Finds the ordering key of a message: commands about one campaign must not overtake one another.

Facts carry a version or a time, so their order of arrival decides nothing. A command counts in
the order in which it arrives, so while one waits in the outbox, no later one about the same
campaign may be published past it. The ordering key is the campaign's id.
"""

from uuid import UUID

import orjson

from events import CampaignCreateRequested, CampaignDeleteRequested, CampaignUpdateRequested
from infra.amqp import topology
from infra.amqp.message import Message

COMMANDS = frozenset(
    event.event_type()
    for event in (CampaignCreateRequested, CampaignUpdateRequested, CampaignDeleteRequested)
)
COMMAND_QUEUE = "campaigns.apply"
MAX_COMMAND_BYTES = 1024 * 1024  # bytes; no command that a worker accepts is nearly as large


def ordering_key(message: Message) -> str | None:
    """Return the id of the campaign that a command is about; None for what has no order.

    A command that names no campaign (a creation whose id follows from the event's) is the first
    about it, and its id is not known before it was applied.
    """
    if message.routing_key not in COMMANDS and not _is_replayed(message):
        return None
    if (
        message.exchange not in (topology.EVENTS_EXCHANGE, topology.RETURN_EXCHANGE)
        or len(message.body) > MAX_COMMAND_BYTES
    ):
        return None
    try:
        document = orjson.loads(message.body)
        # In binary mode (a dead letter that is replayed) the body is the data.
        data = document.get("data", document)
        return str(UUID(data["campaign_id"]))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def _is_replayed(message: Message) -> bool:
    return message.exchange == topology.RETURN_EXCHANGE and message.routing_key == COMMAND_QUEUE

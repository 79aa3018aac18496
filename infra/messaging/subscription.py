"""Queue = handler: one line of data, ``Subscription("metrics.record", (..,), record_metrics)``."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from events.envelope import Event
from infra.messaging.context import Context
from infra.messaging.delivery import DecodedDelivery, Delivery
from infra.resources import Resources

# A handler takes a list and returns the events it caused, in the batch's transaction.
Handler = Callable[[list[Any], Context], Awaitable[Sequence[Event]]]
# What has to wait on the outside (a platform, a slow hash) runs first, with no transaction
# open and only for events not seen before. It returns one value for each event, in their
# order: what takes the event's place in the handler's list, or a Failure of that event alone.
Prepare = Callable[[list[Any], Resources], Awaitable[Sequence[Any]]]
# How a delivery is read, where it is no event of ours; raises Permanent.
Decoder = Callable[[Delivery], DecodedDelivery]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A queue of ``infra.amqp.topology``, the events it accepts, and who handles them.

    ``batch`` is the most events a handler gets at once; ``wait`` the most seconds that a
    batch lingers to fill up while another is under way (a free worker never waits);
    ``parallel`` how many batches may be under way. ``receive`` reads a delivery another
    way than as one of ``events``.
    """

    queue: str
    events: tuple[type[Event], ...]
    handler: Handler
    prepare: Prepare | None = None
    batch: int = 500
    wait: float = 0.01
    parallel: int = 1
    receive: Decoder | None = None

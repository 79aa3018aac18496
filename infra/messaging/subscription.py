"""Queue = handler: one line of data, ``Subscription("metrics.record", (..,), record_metrics)``."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from events.envelope import Event
from infra.errors import Failure
from infra.messaging.context import Context
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.resources import Resources

# What the queue brings: events, or what a decoder of its own makes of a delivery.
E = TypeVar("E")
# What the handler takes: the same, or what ``prepare`` made of it.
V = TypeVar("V")

# Takes a list and returns the events it caused, in the batch's transaction.
Handler: TypeAlias = Callable[[list[V], Context], Awaitable[Sequence[Event]]]
# What waits on the outside (a platform, a slow hash) runs before, with no transaction open and
# only for events not seen before. It returns one value for each event, in their order: what
# takes the event's place in the handler's list, or a Failure of that event alone.
Prepare: TypeAlias = Callable[[list[E], Resources], Awaitable[Sequence[V | Failure]]]
# Reads a delivery that is no event; raises Permanent.
Decoder: TypeAlias = Callable[[Delivery], DecodedDelivery]
# Reduces what a decoder made to what the database cannot refuse.
Reducer: TypeAlias = Callable[[DecodedDelivery], DecodedDelivery]


@dataclass(frozen=True, slots=True)
class Subscription(Generic[E, V]):
    """A queue of ``infra.amqp.topology``, the events it accepts, and who handles them.

    ``batch`` is the most events a handler gets at once; ``wait`` the most seconds that a batch
    waits to fill up while another is in progress (a free worker never waits); ``parallel`` how
    many batches may be in progress. ``decoder`` reads deliveries that are none of ``events``;
    where the database refuses one of them, ``reducer`` makes what is filed instead.
    """

    queue: str
    events: tuple[type[E], ...]
    handler: Handler[V]
    prepare: Prepare[E, V] | None = None
    batch: int = 500
    wait: float = 0.01
    parallel: int = 1
    decoder: Decoder | None = None
    reducer: Reducer | None = None

    if TYPE_CHECKING:
        # Without ``prepare`` the handler takes the events themselves.
        @overload
        def __init__(
            self: "Subscription[E, E]",
            queue: str,
            events: tuple[type[E], ...],
            handler: Handler[E],
            *,
            batch: int = 500,
            wait: float = 0.01,
            parallel: int = 1,
            decoder: Decoder | None = None,
            reducer: Reducer | None = None,
        ) -> None: ...

        @overload
        def __init__(
            self,
            queue: str,
            events: tuple[type[E], ...],
            handler: Handler[V],
            *,
            prepare: Prepare[E, V],
            batch: int = 500,
            wait: float = 0.01,
            parallel: int = 1,
        ) -> None: ...

        def __init__(self, *args: object, **options: object) -> None:
            """See the fields."""


# For code that runs any subscription, whatever its events are.
AnySubscription: TypeAlias = Subscription[Any, Any]

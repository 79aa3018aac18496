"""The ways to fail.

    Failure                a handler says that an event was not handled
    ├── Transient          try again later; after too many attempts it is dead
    ├── Permanent          dead-letter now
    └── Snooze             the outside is down: wait, at no cost to the attempts
    Outage                 Postgres, Redis or the broker is gone: the subscription pauses
    PublishFailed          a message was not accepted by the broker
    ├── PublishUnknown     no answer: it may or may not be enqueued (also an Outage)
    ├── BrokerRefused      the broker said no (nack): back-pressure (also an Outage)
    └── Unroutable         no queue takes it, or its exchange is missing
        └── Unwritable     the message itself is too large, or has what AMQP cannot hold

Anything else that a handler raises is a bug and counts as transient.
"""

from collections.abc import Sequence

from events.envelope import Event
from schemas.escaping import REASON_LENGTH, escape

# The code of a failure that stands for an exception nobody expected.
UNEXPECTED = "UNEXPECTED"
# Every code of a failure: metrics count by it, and a test compares it with the sources.
CODES = frozenset(
    {
        "CONFLICT",
        "DECRYPTION_FAILED",
        "FAILURE",
        "ID_REUSED",
        "INVALID_DATA",
        "INVALID_EVENT",
        "INVALID_OWNER",
        "KEY_MISMATCH",
        "PERMANENT",
        "PLATFORM_BUSY",
        "PLATFORM_FAILED",
        "PLATFORM_INCONSISTENT",
        "POISON_MESSAGE",
        "SNOOZE",
        "TIMESTAMP_IN_FUTURE",
        "TOO_LARGE",
        "TRANSIENT",
        UNEXPECTED,
        "UNKNOWN_CAMPAIGN",
        "UNKNOWN_TYPE",
        "UNREADABLE",
        "UNRECOGNISED",
        "UNVERIFIED_OWNER",
        "UNVERIFIED_SOURCE",
        "WRONG_PLATFORM",
    }
)


class Failure(Exception):
    """An event was not handled; ``events`` names the failed ones of a batch.

    They are found by their key (source and id). Without ``events`` the batch is divided until the
    failing event stands alone. ``code`` is a stable word for dead letters and metrics.
    """

    code = "FAILURE"
    stage = "handler"  # the stage that it came out in, as dead letters show it

    def __init__(
        self, reason: str, *, events: Sequence[Event] = (), code: str | None = None
    ) -> None:
        """Keep the reason, in words and without secrets: it is shown to people.

        It may quote what a publisher wrote, so it is escaped and bounded here, for all who
        read it: dead letters, logs, operations.
        """
        self.reason = escape(reason, REASON_LENGTH)
        super().__init__(self.reason)
        self.events = tuple(events)
        self.code = code or type(self).code


class Transient(Failure):
    """Try again later; ``within`` seconds of waiting at most (default: the policy's)."""

    code = "TRANSIENT"

    def __init__(
        self,
        reason: str,
        *,
        events: Sequence[Event] = (),
        code: str | None = None,
        within: float | None = None,
    ) -> None:
        """Keep the reason and the event's own limit of waiting, in seconds."""
        super().__init__(reason, events=events, code=code)
        self.within = within


class Permanent(Failure):
    """No attempt will ever succeed: dead-letter now."""

    code = "PERMANENT"


class Snooze(Failure):
    """Wait about ``seconds`` and try again; costs no attempt and no age."""

    code = "SNOOZE"

    def __init__(self, reason: str, seconds: float, *, events: Sequence[Event] = ()) -> None:
        """Keep the reason and the wait in seconds."""
        super().__init__(reason, events=events)
        self.seconds = seconds


class Outage(Exception):
    """Infrastructure is gone; nothing can be said about the events in hand."""


class PublishFailed(Exception):
    """The broker has not taken responsibility for a message.

    ``suspect``: the broker closed the channel with an error, over this message or over another
    one in flight.
    """

    def __init__(self, reason: str = "", *, suspect: bool = False) -> None:
        """Keep the reason, in words."""
        super().__init__(reason)
        self.suspect = suspect


class PublishUnknown(PublishFailed, Outage):
    """No answer came: the message may or may not be enqueued. Repeat with the same id."""


class BrokerRefused(PublishFailed, Outage):
    """The broker refused the message (``basic.nack``): back off, then repeat."""


class Unroutable(PublishFailed):
    """The exchange is missing or no queue takes the routing key: a configuration error."""


class Unwritable(Unroutable):
    """The message is larger than the broker takes, or AMQP cannot hold it: no try will succeed."""


def drop_frames(error: BaseException) -> None:
    """Take the tracebacks off an exception and off those that led to it.

    A traceback keeps the frames that it went through, and so the messages in them. An exception
    that is kept in such a frame is part of a cycle, which is collected late.
    """
    found: BaseException | None = error
    while found is not None and found.__traceback__ is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__

"""What became of the events of a batch, as data, and what is left to do of it."""

from dataclasses import dataclass, field
from typing import Any

from infra.errors import Failure, Permanent, Snooze, Transient
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.inbox import Claim

CONFLICT_SNOOZE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that was not handled, why, and in which stage of the pipeline."""

    delivery: Delivery
    error: BaseException
    stage: str
    decoded: DecodedDelivery | None = None

    @classmethod
    def of(cls, decoded: DecodedDelivery, error: BaseException) -> "FailedDelivery":
        """Note the failure of a decoded delivery in its handler's stage."""
        return cls(decoded.delivery, error, getattr(error, "stage", "handler"), decoded)


@dataclass(slots=True)
class BatchResult:
    """Which deliveries took effect, were duplicates or failed, and the replies to send.

    ``skipped`` of the handled ones were acknowledged without effect.
    """

    handled: list[DecodedDelivery] = field(default_factory=list)
    duplicates: list[DecodedDelivery] = field(default_factory=list)
    failed: list[FailedDelivery] = field(default_factory=list)
    replies: list[tuple[Delivery, dict[str, Any]]] = field(default_factory=list)
    skipped: int = 0

    def add(self, other: "BatchResult") -> None:
        """Add the result of another part of the batch."""
        self.handled += other.handled
        self.duplicates += other.duplicates
        self.failed += other.failed
        self.replies += other.replies
        self.skipped += other.skipped

    def record(self, claim: Claim) -> None:
        """Note a claim that was committed: a reused id is a failure of its own."""
        self.handled += claim.fresh
        self.duplicates += claim.duplicates
        reason = "this source has used the same id for another event"
        self.failed += [
            FailedDelivery.of(item, Permanent(reason, code="ID_REUSED")) for item in claim.reused
        ]


@dataclass(slots=True)
class Work:
    """What is left of a batch: parts in the order in which they run, the first one last.

    ``conflicts`` are events that met a conflict alone, each time; what it means depends on
    whether any other event gets through.
    """

    parts: list[list[DecodedDelivery]]
    result: BatchResult = field(default_factory=BatchResult)
    conflicts: list[DecodedDelivery] = field(default_factory=list)
    is_authorized: bool = True

    def resolve_conflicts(self) -> None:
        """Fail events that met a conflict alone: at the cost of an attempt if others got through.

        Otherwise something holds up all of them, and waiting costs nothing.
        """
        if not self.conflicts:
            return
        reason = "a lock, a timeout or another transaction stands in the way each time"
        failure: Failure
        if self.result.handled or self.result.duplicates:
            failure = Transient(reason, code="CONFLICT")
        else:
            failure = Snooze(reason, CONFLICT_SNOOZE_SECONDS)
        self.result.failed += [FailedDelivery.of(item, failure) for item in self.conflicts]
        self.conflicts.clear()

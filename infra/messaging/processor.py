"""Processes a batch: decode, authorize, claim in the inbox, handler, outbox, commit.

    decode -> authorize -> [prepare, no transaction open]
    -> begin -> claim in the inbox -> handler(list) -> outbox rows of what it returned -> COMMIT

A batch that fails on data or in our code is divided until the failing event stands alone and its
neighbours are through; a failure that names its events is divided at once. A batch that meets a
conflict is run again first. All of it is bounded in time: what is left is run later, from the
same ``Work``. Results are data (``BatchResult``); what they mean for the broker is
``infra.messaging.settler``'s, so deliveries may come from anywhere.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from events.envelope import Event
from infra.errors import Failure, Outage, Snooze
from infra.messaging.attempt import Attempt
from infra.messaging.authorization import PublisherAuthorizer
from infra.messaging.batch_result import BatchResult, FailedDelivery, Work
from infra.messaging.decoder import DecodedDelivery, decode_delivery, event_key, to_permanent
from infra.messaging.delivery import Delivery
from infra.messaging.error_classifier import ErrorKind, classify_error, to_failure
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources, healthy
from infra.storage.engine import describe_error

BATCH_SECONDS = 60.0  # of work on a batch before the rest of it has to wait
CONFLICT_RETRIES = 5  # of the same part
CONFLICT_SECONDS = 15.0  # that the same part is run again
# A suspected outage that a probe does not confirm is first tried again, then a bug.
RETRY_IN_PLACE = (ErrorKind.CONFLICT, ErrorKind.SUSPECTED_OUTAGE)

OnCommit = Callable[[Sequence[DecodedDelivery]], None]


class BatchProcessor:
    """Processes batches of one subscription, each for ``seconds`` at a time."""

    def __init__(
        self,
        subscription: AnySubscription,
        resources: Resources,
        *,
        seconds: float = BATCH_SECONDS,
        on_commit: OnCommit | None = None,
    ) -> None:
        """Prepare to decode the subscription's events.

        ``on_commit`` is called with what was handled, after each commit.
        """
        self._subscription = subscription
        self._resources = resources
        self._seconds = seconds
        self._on_commit = on_commit
        self._types: dict[str, type[Event]] = {e.event_type(): e for e in subscription.events}
        self._max_bytes = resources.settings.max_event_bytes
        self._authorizer = PublisherAuthorizer(
            subscription.queue, resources.settings, resources.publishers
        )

    def decode(self, deliveries: Sequence[Delivery]) -> Work:
        """Decode deliveries; what cannot be decoded has failed."""
        decoder = self._subscription.decoder
        types, max_bytes = self._types, self._max_bytes
        result = BatchResult()
        decoded: list[DecodedDelivery] = []
        for delivery in deliveries:
            try:
                decoded.append(
                    decoder(delivery) if decoder else decode_delivery(delivery, types, max_bytes)
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this message's alone
                result.failed.append(FailedDelivery(delivery, to_permanent(error), "decode"))
        return Work([decoded] if decoded else [], result, is_authorized=decoder is not None)

    async def run(self, work: Work) -> BatchResult:
        """Process what is left of ``work``; gives the result of all of it.

        Raises ``Outage`` when nothing can be said about what is left because infrastructure is
        gone or holds it up; it can be run again.
        """
        if not work.is_authorized:
            await self._authorize(work)
        clock = asyncio.get_running_loop().time
        until = clock() + self._seconds
        while work.parts:
            if clock() > until:
                raise Outage(f"a batch is not through after {self._seconds:.0f} s")
            parts = await self._run_part(work.parts[-1], work)
            work.parts[-1:] = reversed(parts)
        work.resolve_conflicts()
        return work.result

    async def _authorize(self, work: Work) -> None:
        """Go on with what its publisher may publish; the rest has failed. Raises ``Outage``."""
        parts: list[list[DecodedDelivery]] = []
        for part in work.parts:
            allowed, refused = await self._authorizer.authorize(part)
            work.result.failed += [FailedDelivery(d, error, "authorize") for d, error in refused]
            if allowed:
                parts.append(allowed)
        work.parts[:] = parts
        work.is_authorized = True

    async def _run_part(
        self, part: list[DecodedDelivery], work: Work
    ) -> list[list[DecodedDelivery]]:
        """Run a part of a batch; gives the parts, in their order, that are to be run instead."""
        clock = asyncio.get_running_loop().time
        until = clock() + CONFLICT_SECONDS
        tries = 0
        while True:
            attempt = Attempt(self._subscription, self._resources)
            try:
                await attempt.run(part)
            except Exception as error:
                kind = classify_error(error)
                if kind is ErrorKind.OUTAGE or (
                    kind is ErrorKind.SUSPECTED_OUTAGE and not await healthy(self._resources)
                ):
                    reason = str(error) if isinstance(error, Outage) else describe_error(error)
                    raise Outage(reason) from error
                if kind in RETRY_IN_PLACE and tries < CONFLICT_RETRIES and clock() < until:
                    tries += 1
                    await asyncio.sleep(random.uniform(0.01, 0.1) * tries)  # noqa: S311 - jitter
                    continue
                return _divide(part, error, kind, work)
            if self._on_commit is not None:
                self._on_commit(attempt.result.handled)
            work.result.add(attempt.result)
            await attempt.finish()
            return []


def _divide(
    part: list[DecodedDelivery], error: Exception, kind: ErrorKind, work: Work
) -> list[list[DecodedDelivery]]:
    """Note failed events of a part, and divide the others."""
    failed = _named(part, error)
    if not failed and (isinstance(error, Snooze) or len(part) == 1):
        failed = part
    if not failed:
        half = len(part) // 2
        return [part[:half], part[half:]]
    if kind is ErrorKind.CONFLICT:
        work.conflicts += failed
    else:
        failure = to_failure(error, kind)
        work.result.failed += [FailedDelivery.of(item, failure) for item in failed]
    excluded = set(failed)
    rest = [item for item in part if item not in excluded]
    return [rest] if rest else []


def _named(part: Sequence[DecodedDelivery], error: Exception) -> list[DecodedDelivery]:
    """Find the deliveries of the events that a failure names by their key (source and id).

    Of several deliveries with one key the handler was given the first.
    """
    if not isinstance(error, Failure) or not error.events:
        return []
    keys = {event_key(event) for event in error.events}
    first: dict[Any, DecodedDelivery] = {}
    for item in part:
        if item.key in keys:
            first.setdefault(item.key, item)
    return list(first.values())

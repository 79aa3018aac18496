"""Dramatiq: one process of eight threads; as a script it fills the queue.

python -m tests.bench.peers.with_dramatiq < bodies     one body a line
python -m dramatiq tests.bench.peers.with_dramatiq -p 1 -t 8
"""

import sys
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.bench.peers.work import BROKER, QUEUE, record_blocking


class QuorumBroker(RabbitmqBroker):  # type: ignore[misc]
    """Declares quorum queues, for which Dramatiq has no option."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


dramatiq.set_broker(QuorumBroker(url=BROKER, confirm_delivery=True))
record = dramatiq.actor(record_blocking, actor_name="record", queue_name=QUEUE)


def main() -> None:
    """Publish a message for each line."""
    for line in sys.stdin:
        record.send(line)


if __name__ == "__main__":
    main()

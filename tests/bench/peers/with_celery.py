"""Celery: a prefork worker with two children, acknowledging late; as a script it fills the queue.

python -m tests.bench.peers.with_celery < bodies     one body a line
python -m celery -A tests.bench.peers.with_celery worker -c 2
"""

import sys

from celery import Celery

from tests.bench.peers.work import BROKER, QUEUE, record_blocking

app = Celery("bench", broker=BROKER)
app.conf.update(
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    task_default_exchange_type="topic",
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    worker_prefetch_multiplier=50,
    task_ignore_result=True,
)
record = app.task(record_blocking, name="record")


def main() -> None:
    """Publish a task for each line."""
    for line in sys.stdin:
        record.delay(line)


if __name__ == "__main__":
    main()

"""The relay: carries the outbox to the broker, files dead letters, watches what waits.

It also runs replays and discards of many dead letters, and reads again what webhooks said that
nobody understood, before that is a dead letter.
"""

from events import WebhookUnrecognised
from handlers.dead_letters import file_dead_letters
from handlers.webhooks.unrecognised import parse_again, publish_events
from infra.amqp.topology import WORK_QUEUE_NAMES, dead_queue
from infra.messaging.dead_letter import make_dead_letter_decoder, reduce_dead_letter
from infra.messaging.dead_letter_job_runner import run_dead_letter_jobs
from infra.messaging.event_indexer import index_events
from infra.messaging.expiry_gauges import export_expiries
from infra.messaging.gauges import export_gauges
from infra.messaging.log_marker import mark_log
from infra.messaging.log_start import export_log_start
from infra.messaging.outbox_relay import relay_outbox
from infra.messaging.retention import delete_expired
from infra.messaging.subscription import AnySubscription, Subscription
from infra.messaging.topology_monitor import monitor_topology
from infra.process import main

SUBSCRIPTIONS: tuple[AnySubscription, ...] = (
    *(
        Subscription(
            dead_queue(name),
            (),
            file_dead_letters,
            batch=50,
            decoder=make_dead_letter_decoder(name),
            reducer=reduce_dead_letter,
        )
        for name in WORK_QUEUE_NAMES
    ),
    Subscription(
        "webhooks.unrecognised",
        (WebhookUnrecognised,),
        publish_events,
        prepare=parse_again,
        batch=50,
    ),
)

if __name__ == "__main__":
    main(
        "relay",
        SUBSCRIPTIONS,
        forever=(
            relay_outbox,
            export_gauges,
            export_expiries,
            export_log_start,
            monitor_topology,
            mark_log,
            delete_expired,
            run_dead_letter_jobs,
            index_events,
        ),
    )

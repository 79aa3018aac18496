"""Restores a database that was put back from the event log (``infra.messaging.log_restore``).

It needs the settings of the workers, and the keys of the auth worker for registrations.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from infra import logs
from infra.amqp.connection import BrokerConnection
from infra.commands.output import print_error
from infra.commands.restore_output import RestoreOutput
from infra.errors import Outage
from infra.messaging import outbox
from infra.messaging.log_restore import LogRestore
from infra.messaging.restore_end import clear_copies, finish, pause_queues, resume_queues
from infra.messaging.restore_losses import LossCounter
from infra.messaging.restore_plan import (
    RestorePlan,
    RestoreRefused,
    make_plan,
    mark_start,
    wait_until_unread,
)
from infra.messaging.subscription import AnySubscription
from infra.process import tune_gc
from infra.resources import Resources, open_resources
from infra.security.sealed_box import PayloadDecryptor
from infra.settings import Settings, load_settings
from infra.storage.dead_letters import has_dead_letters

# No package imports workers, so they are named here: whose queues have effects in the database.
WORKERS = ("auth", "campaigns", "metrics", "relay")
PAUSE_SECONDS = 15.0  # within which paused consumers have left their queues


def load_subscriptions() -> list[AnySubscription]:
    """Load the subscriptions of the workers."""
    modules = [import_module(f"workers.{name}") for name in WORKERS]
    return [subscription for module in modules for subscription in module.SUBSCRIPTIONS]


async def run(*, dry_run: bool, accept_gap: bool, as_json: bool, confirm: bool) -> int:
    """Restore, or with ``dry_run`` say what would be done; returns the exit status.

    ``confirm`` asks before anything is changed.
    """
    settings = load_settings("auth")
    logs.configure_logging("WARNING")
    tune_gc()
    output = RestoreOutput(as_json=as_json, confirms=confirm)
    return await restore(
        settings, load_subscriptions(), output, dry_run=dry_run, accept_gap=accept_gap
    )


async def restore(
    settings: Settings,
    subscriptions: Sequence[AnySubscription],
    output: RestoreOutput,
    *,
    dry_run: bool,
    accept_gap: bool,
) -> int:
    """Restore the effects of these subscriptions; returns the exit status."""
    link = BrokerConnection(settings, "restore")
    try:
        _require_keys(settings)
        async with open_resources(settings, "restore") as resources:
            limit = settings.broker_timeout
            plan = await make_plan(resources.engine, link, limit, accept_gap=accept_gap)
            output.plan(plan)
            if dry_run:
                return 0
            if not output.confirm():
                print_error("nothing was done")
                return 1
            await _pause(resources, link, limit)
            await _restore(resources, link, plan, subscriptions, output)
            return 0
    except RestoreRefused as refused:
        output.refuse(str(refused))
    except (Outage, SQLAlchemyError, OSError) as error:
        reason = str(error) if isinstance(error, Outage) else type(error).__name__
        output.refuse(f"{reason}: the queues stay paused; run it again, it goes on where it was")
    finally:
        await link.close()
    return 1


def _require_keys(settings: Settings) -> None:
    """Raise ``RestoreRefused`` without the keys for registrations."""
    try:
        PayloadDecryptor(settings)
    except ValueError as error:
        raise RestoreRefused(
            f"registrations in the log need the keys of the auth worker: {error}"
        ) from error


async def _pause(resources: Resources, link: BrokerConnection, limit: float) -> None:
    """Pause all queues; raises ``RestoreRefused`` while workers read them nevertheless."""
    async with resources.engine.begin() as tx:
        await pause_queues(tx)
    if read := await wait_until_unread(link, limit, PAUSE_SECONDS):
        async with resources.engine.begin() as tx:
            await resume_queues(tx)
        raise RestoreRefused(f"workers still read {', '.join(read)}: stop them first")


async def _restore(
    resources: Resources,
    link: BrokerConnection,
    plan: RestorePlan,
    subscriptions: Sequence[AnySubscription],
    output: RestoreOutput,
) -> None:
    losses = LossCounter(plan.start)
    async with resources.engine.connect() as connection:
        has_filed = await has_dead_letters(connection)
    began = monotonic()
    restoring = LogRestore(
        resources,
        subscriptions,
        has_filed=has_filed,
        progress=lambda entries: output.progress(plan, entries, losses),
    )
    until = await mark_start(resources, link, plan.end)
    await restoring.run(link, plan.start, until)
    seconds = monotonic() - began
    is_cleared = await clear_copies(resources.redis)
    triggered = await finish(resources.engine)
    await outbox.notify(resources.redis)
    counts = {name: asdict(queue.counts) for name, queue in restoring.queues.items()}
    output.result(counts, seconds, triggered, losses, is_cleared=is_cleared)

"""Checks of the topology, of the rights of Adrelay's users, and of who reads the queues."""

from collections.abc import Iterator, Sequence

from infra.amqp import topology, topology_declaration
from infra.amqp.broker_listing import read_listing
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.amqp.difference import Difference
from infra.amqp.permission_diff import compare_permissions, compare_policies
from infra.amqp.policies import get_log_retention
from infra.amqp.topology_diff import compare_topology
from infra.commands.doctor.examination import Examination
from infra.commands.doctor.finding import Finding, Level, not_checked, ok
from infra.storage.pauses import PauseRow, list_pauses

LEVELS = {
    "missing": Level.ERROR,
    "changed": Level.ERROR,
    "extra": Level.WARNING,
    "note": Level.NOTE,
}
WHYS = {
    "missing": "what needs it waits, or is lost on its way",
    "changed": "messages go elsewhere, wait otherwise, or are lost",
    "extra": "it may bring or take messages that nobody expects",
}
MAX_DIFFERENCES = 20
APPLY = "adrelay topology apply"


async def check_topology(examination: Examination) -> list[Finding]:
    """Compare exchanges, queues, bindings, policies, users and permissions with the code."""
    listing = await read_listing(examination.api, examination.vhost, examination.timeout)
    retention = get_log_retention(examination.settings)
    parts = [*compare_topology(listing), *compare_policies(listing, retention)]
    rights = list(compare_permissions(listing))
    findings = [*_to_findings("topology", parts), *_to_findings("permissions", rights)]
    if not parts:
        findings.append(ok("topology", "exchanges, queues, bindings and policies are whole"))
    if listing.unseen is not None:
        findings.append(not_checked("permissions", f"{listing.unseen} (it needs an administrator)"))
    elif not rights:
        findings.append(ok("permissions", "each user has the permissions that it needs, no more"))
    return findings


def _to_findings(check: str, differences: Sequence[Difference]) -> Iterator[Finding]:
    for found in differences[:MAX_DIFFERENCES]:
        action = found.way_out or APPLY
        yield Finding(LEVELS[found.kind], check, found.words, WHYS.get(found.kind, ""), action)
    more = len(differences) - MAX_DIFFERENCES
    if more > 0:
        action = "adrelay topology diff lists them"
        yield Finding(Level.ERROR, check, f"{more} differences more", "", action)


async def check_consumers(examination: Examination) -> list[Finding]:
    """Check that every queue that a worker reads has a consumer, and what lies in the others."""
    link = BrokerConnection(examination.settings, "doctor:queues")
    findings: list[Finding] = []
    unread: list[str] = []
    try:
        channel = await link.open_channel()
        for queue in topology_declaration.queues():
            if queue.name == topology.EVENT_LOG:
                continue
            declaring = channel.queue_declare(queue.name, passive=True)
            found = await with_broker_timeout(declaring, examination.settings.broker_timeout)
            if _has_reader(queue.name) and not found.consumer_count:
                unread.append(f"{queue.name} ({found.message_count} messages)")
            if queue.name == topology.UNROUTED and found.message_count:
                findings.append(_report_unrouted(found.message_count))
    finally:
        await link.close()
    if unread:
        what = f"no worker reads {', '.join(unread)}"
        why = "what comes for these queues waits, and takes no effect"
        action = "start the worker, or see why it is not ready (its /readyz and its log)"
        return [*findings, Finding(Level.ERROR, "consumers", what, why, action)]
    return [*findings, ok("consumers", "every queue is read")]


def _has_reader(queue: str) -> bool:
    tiers = map(topology.retry_exchange, topology.RETRY_TIERS)
    return queue not in (topology.UNROUTED, *tiers)


def _report_unrouted(messages: int) -> Finding:
    return Finding(
        Level.WARNING,
        "consumers",
        f"{topology.UNROUTED} holds {messages} messages that no queue wanted",
        "they had no effect: their type is unknown, or a binding was missing",
        "adrelay broker requeue-unrouted; docs/operator.md, AdrelayUnrouted",
    )


async def check_pauses(examination: Examination) -> list[Finding]:
    """Check what a person or the queue circuit breaker has paused."""
    async with examination.engine.connect() as tx:
        pauses = await list_pauses(tx)
    return [_report_pause(pause) for pause in pauses] or [ok("pauses", "nothing is paused")]


def _report_pause(pause: PauseRow) -> Finding:
    since = f"{pause.paused_at:%Y-%m-%d %H:%M:%S}Z"
    return Finding(
        Level.WARNING,
        "pauses",
        f"{pause.kind} {pause.target} is paused since {since} by {pause.paused_by}: {pause.reason}",
        "its messages wait, and take no effect",
        f"when the reason is gone: adrelay queues resume {pause.target}",
    )

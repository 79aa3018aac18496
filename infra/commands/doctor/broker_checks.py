"""Checks of the broker: connections, version, plugins, alarms, its clock, the size of messages."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiormq
from pydantic import SecretStr

from events.envelope import now
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.amqp.management_api import ManagementApiError
from infra.commands.doctor.examination import Examination, Unavailable
from infra.commands.doctor.finding import Finding, Level, not_checked, ok
from infra.commands.doctor.versions import RABBITMQ, judge_version
from infra.errors import Outage
from infra.messaging.log_start import find_log_start
from infra.settings.rules import parse_duration

CLOCK_WARNING, CLOCK_ERROR = 5.0, 60.0  # seconds between two clocks
PLUGINS = {
    "rabbitmq_management": "the relay compares the topology through it",
    "rabbitmq_prometheus": "alerts about memory and disk of the broker need it",
}
MAX_PROBE_BYTES = 64 * 1024 * 1024  # sent to learn whether the broker takes as much


async def check_connection(examination: Examination) -> list[Finding]:
    """Connect to each broker of the settings, and compare its version with the known faults."""
    urls = examination.settings.rabbitmq_url.get_secret_value().split()
    found = await asyncio.gather(*(_connect(examination, url, len(urls) > 1) for url in urls))
    return [finding for findings in found for finding in findings]


async def _connect(examination: Examination, url: str, in_cluster: bool) -> list[Finding]:  # noqa: FBT001 - of all members alike
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"
    settings = examination.settings.model_copy(update={"rabbitmq_url": SecretStr(url)})
    link = BrokerConnection(settings, "doctor")
    try:
        channel = await link.open_channel()
        properties: Mapping[str, Any] = channel.connection.server_properties
        version = _to_text(properties.get("version", "0"))
        user = parts.username or "guest"
        connected = ok("rabbitmq", f"{place} accepts {user} on vhost {examination.vhost}")
        return [connected, *judge_version(RABBITMQ, version, in_cluster=in_cluster)]
    except Outage as error:
        why = "nothing takes effect without the broker; the ingress stores what it accepts"
        if in_cluster:
            why = "one member less may be lost before nothing takes effect"
        action = "start it, or correct RABBITMQ_URL (user, password, vhost, port)"
        reason = f"{error} ({error.__cause__})" if str(error.__cause__ or "") else str(error)
        return [Finding(Level.ERROR, "rabbitmq", f"{place}: {reason}", why, action)]
    finally:
        await link.close()


def _to_text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def check_management(examination: Examination) -> list[Finding]:
    """Check that the management API answers and what its user may do there."""
    if examination.management is None:
        found = "RABBITMQ_MANAGEMENT_URL is not set"
        why = "nobody compares the topology: a lost queue or binding goes unnoticed"
        action = "give the relay and the release step a user with the tag policymaker"
        return [Finding(Level.WARNING, "management", found, why, action)]
    try:
        me = await examination.management.call("GET", "whoami", timeout=examination.timeout)
    except OSError as error:
        why = "nobody compares the topology, and alarms are not seen"
        action = "enable rabbitmq_management; correct RABBITMQ_MANAGEMENT_URL (user, password)"
        return [Finding(Level.ERROR, "management", f"it does not answer: {error}", why, action)]
    tags = me["tags"] if isinstance(me["tags"], str) else ", ".join(me["tags"])
    return [ok("management", f"it accepts {me['name']} ({tags or 'no tags'})")]


async def check_plugins(examination: Examination) -> list[Finding]:
    """Check the plugins of each node, where the user may see nodes."""
    try:
        nodes = await examination.api.call("GET", "nodes", timeout=examination.timeout)
    except ManagementApiError as error:
        raise Unavailable(f"{error} (it needs the tag monitoring)") from None
    findings = list(_judge_plugins(nodes))
    return findings or [ok("plugins", f"{', '.join(PLUGINS)} are enabled on every node")]


def _judge_plugins(nodes: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for node in nodes:
        if not node.get("running", True):
            yield Finding(
                Level.ERROR,
                "plugins",
                f"node {node['name']} is not running",
                "one node less may be lost before nothing takes effect",
                "start it",
            )
            continue
        enabled = node.get("enabled_plugins", ())
        for plugin, why in PLUGINS.items():
            if plugin not in enabled:
                found, action = (
                    f"{node['name']} lacks {plugin}",
                    f"rabbitmq-plugins enable {plugin}",
                )
                yield Finding(Level.WARNING, "plugins", found, why, action)


async def check_alarms(examination: Examination) -> list[Finding]:
    """Check for alarms of memory and disk on any node."""
    path = ("health", "checks", "alarms")
    try:
        answer = await examination.api.call("GET", *path, timeout=examination.timeout)
    except ManagementApiError as error:
        if error.status != 503:  # noqa: PLR2004 - its answer when an alarm is in effect
            raise
        why = "the broker takes no message while it lasts; the ingress accepts into the outbox"
        action = "free disk or memory, or raise the limit (rabbitmq-diagnostics alarms)"
        return [Finding(Level.ERROR, "alarms", str(error), why, action)]
    return [ok("alarms", f"no alarm of disk or memory ({answer['status']})")]


async def check_clock(examination: Examination) -> list[Finding]:
    """Compare the broker's clock with ours."""
    asked = now()
    theirs = await examination.api.read_clock(examination.timeout)
    return [judge_clock("the broker", theirs, asked, now(), resolution=1.0)]


def judge_clock(
    server: str, theirs: datetime, asked: datetime, answered: datetime, *, resolution: float = 0.0
) -> Finding:
    """Judge a server's clock, read between two times of our own; ``resolution`` is in seconds."""
    ahead = (theirs - answered).total_seconds()
    behind = (asked - theirs).total_seconds() - resolution
    off = max(ahead, behind, 0.0)
    if off <= CLOCK_WARNING:
        return ok("clocks", f"{server}'s clock agrees with this machine's to {max(off, 1):.0f} s")
    side = "ahead" if ahead > 0 else "behind"
    return Finding(
        Level.ERROR if off > CLOCK_ERROR else Level.WARNING,
        "clocks",
        f"{server}'s clock is {off:.0f} s {side}",
        "leases, delays and the age of events are wrong; what is dated more than five minutes ahead"
        " becomes a dead letter, and webhooks of that age are refused",
        "let every machine follow a time server",
    )


async def check_message_size(examination: Examination) -> list[Finding]:
    """Check that the broker takes a message of ``MAX_EVENT_BYTES``, with one that reaches no queue.

    The broker looks at the size first, then at the permission, then for queues.
    """
    size = examination.settings.max_event_bytes
    if size > MAX_PROBE_BYTES:
        found = f"MAX_EVENT_BYTES ({size}) is too large to be tried"
        action = "compare it with the broker's max_message_size"
        return [Finding(Level.WARNING, "message size", found, "larger ones are refused", action)]
    link = BrokerConnection(examination.settings, "doctor:size")
    nowhere = f"adrelay-doctor-{uuid4().hex}"
    try:
        channel = await link.open_channel(confirms=True)
        publishing = channel.basic_publish(bytes(size), routing_key=nowhere, mandatory=False)
        await with_broker_timeout(publishing, examination.settings.broker_timeout)
    except Outage as error:
        reason = error.__cause__
        if isinstance(reason, aiormq.exceptions.ChannelPreconditionFailed):
            why = "events that Adrelay accepts are refused by the broker, and stay in the outbox"
            action = "raise the broker's max_message_size, or lower MAX_EVENT_BYTES"
            found = f"it refuses {size} bytes (MAX_EVENT_BYTES): {reason}"
            return [Finding(Level.ERROR, "message size", found, why, action)]
        if not isinstance(reason, aiormq.exceptions.ChannelAccessRefused):
            raise
    finally:
        await link.close()
    return [ok("message size", f"the broker takes messages of {size} bytes (MAX_EVENT_BYTES)")]


async def check_log(examination: Examination) -> list[Finding]:
    """Check how far back the event log reaches, against the age of the newest backup."""
    settings = examination.settings
    link = BrokerConnection(settings, "doctor:log")
    try:
        start = await find_log_start(link, examination.settings.broker_timeout)
    finally:
        await link.close()
    if start is None:
        return [not_checked("event log", f"{topology.EVENT_LOG} tells no time")]
    age = now().timestamp() - start
    reach = f"it reaches back {age / 3600:.0f} h" if start else "nothing was dropped from it yet"
    if settings.backup_max_age is None:
        found, action = f"{reach}; BACKUP_MAX_AGE is not set", "set it, where backups are made"
        why = "nobody knows whether a backup can be brought up to date from the log"
        return [Finding(Level.NOTE, "event log", found, why, action)]
    if start and age < parse_duration(settings.backup_max_age).total_seconds():
        found = f"{reach}, less than BACKUP_MAX_AGE ({settings.backup_max_age})"
        why = "a backup that is put back cannot be brought up to date from the log"
        action = "raise HISTORY_MAX_BYTES or HISTORY_MAX_AGE, then run the release step"
        return [Finding(Level.ERROR, "event log", found, why, action)]
    return [ok("event log", f"{reach}; a backup may be {settings.backup_max_age} old")]

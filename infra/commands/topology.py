"""Shows, compares and applies the broker's topology, over its management API.

The caller is the user of ``RABBITMQ_MANAGEMENT_URL``: that of the release step may declare and set
policies; users and permissions are shown to administrators alone.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.amqp.broker_listing import BrokerListing, read_listing
from infra.amqp.definitions import write_parts
from infra.amqp.difference import Change, Difference
from infra.amqp.management_api import ManagementApi
from infra.amqp.permission_diff import compare_permissions, compare_policies
from infra.amqp.policies import LogRetention, get_log_retention
from infra.amqp.topology_diff import compare_topology
from infra.commands.broker_permissions import read_passwords
from infra.commands.migrate import record_paths
from infra.commands.output import print_error, print_json
from infra.commands.topology_output import print_differences, print_parts, print_unseen
from infra.messaging.topology_monitor import vhost_of
from infra.settings import Settings, load_settings

TIMEOUT = 30.0  # seconds for each request


@dataclass(frozen=True, slots=True)
class TopologySession:
    """The broker that a command works on, and how it prints."""

    settings: Settings
    api: ManagementApi
    vhost: str
    as_json: bool

    @property
    def retention(self) -> LogRetention:
        """How long the event log is to be kept."""
        return get_log_retention(self.settings)

    async def read(self) -> BrokerListing:
        """List what the broker has; raises what ``ManagementApi.call`` raises."""
        return await read_listing(self.api, self.vhost, TIMEOUT)


def compare(listing: BrokerListing, retention: LogRetention) -> list[Difference]:
    """List every difference; those that can be changed in an order that succeeds."""
    topology = compare_topology(listing)
    return [*topology, *compare_policies(listing, retention), *compare_permissions(listing)]


def is_wrong(differences: Sequence[Difference]) -> bool:
    """Tell whether one of them is more than a note."""
    return any(difference.kind != "note" for difference in differences)


async def run(command: Callable[[TopologySession], Awaitable[int]], *, as_json: bool) -> int:
    """Run a command with the release step's settings; returns the exit status."""
    settings = load_settings("release")
    api = ManagementApi.from_settings(settings)
    if api is None:
        print_error("RABBITMQ_MANAGEMENT_URL is not set: without it nobody sees what a broker has")
        return 1
    try:
        return await command(TopologySession(settings, api, vhost_of(settings), as_json))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print_error(
            f"the management API does not tell the topology: {error or type(error).__name__}"
        )
        return 1


async def show(session: TopologySession) -> int:
    """Print every exchange, queue, policy and user with its state; returns 0."""
    listing = await session.read()
    differences = compare(listing, session.retention)
    print_parts(listing, differences, session.retention, as_json=session.as_json)
    return 0


async def diff(session: TopologySession) -> int:
    """Print what differs; returns 1 when something does."""
    listing = await session.read()
    differences = compare(listing, session.retention)
    print_differences(differences, as_json=session.as_json)
    print_unseen(listing, as_json=session.as_json)
    return int(is_wrong(differences))


async def apply(session: TopologySession, confirm: Callable[[str], bool]) -> int:
    """Make the safe changes after showing them; returns 1 when a difference remains."""
    listing = await session.read()
    differences = compare(listing, session.retention)
    print_differences(differences, as_json=session.as_json)
    print_unseen(listing, as_json=session.as_json)
    safe = [difference for difference in differences if difference.change is not None]
    if not safe:
        return int(is_wrong(differences))
    if not confirm(f"Make {len(safe)} safe changes?"):
        print_error("nothing was changed")
        return 1
    await record_paths(session.settings)  # what is missing now: it may have lost messages
    await _make_changes(session, safe)
    await record_paths(session.settings)
    remaining = compare(await session.read(), session.retention)
    for difference in safe:
        _report(session, difference, done=difference not in remaining)
    if any(difference.kind == "missing" for difference in safe) and not session.as_json:
        print("what was accepted meanwhile: adrelay broker requeue-unrouted sends it again")
    return int(is_wrong(remaining))


async def _make_changes(session: TopologySession, differences: Sequence[Difference]) -> None:
    """Make each change once; one that fails does not stop the others."""
    made: list[Change] = []
    for difference in differences:
        change = difference.change
        if change is None or change in made:
            continue
        made.append(change)
        try:
            await session.api.call(
                change.method, *change.path, body=dict(change.body), timeout=TIMEOUT
            )
        except OSError as error:
            print_error(f"{difference.part}: the broker refuses it: {error}")


def _report(session: TopologySession, difference: Difference, *, done: bool) -> None:
    if session.as_json:
        print_json({"part": difference.part, "words": difference.words, "done": done})
    elif done:
        print(f"done: {difference.words}")
    else:
        print_error(f"not done: {difference.words}")


def export(vhost: str, passwords: Path | None, part: str) -> str:
    """Write definitions as JSON; raises ``ValueError`` for a file without users of Adrelay."""
    known = {} if passwords is None else read_passwords(passwords)
    retention = get_log_retention(load_settings())
    return json.dumps(write_parts(vhost, known, retention)[part], indent=2)

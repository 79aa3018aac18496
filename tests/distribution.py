"""Runs the suite on several pytest-xdist workers: what each gets, and what their controller does.

Each worker is a test session of its own (see ``tests.services``). A test module stays on one
worker, so what it keeps running for its tests is started once. The modules that take longest start
first, so that no worker is busy alone at the end.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.guardian import guard
from tests.services import keep_services

CHAOS = "tests/chaos/"
# Units that take longest, in this order; the others follow in the order of collection.
LONGEST = (
    CHAOS,
    "tests/e2e/test_kill.py",
    "tests/infra/messaging/test_unreadable_properties.py",
    "tests/workers/ingress/test_web_processes.py",
    "tests/e2e/test_demo.py",
    "tests/infra/commands/test_history.py",
    "tests/infra/commands/test_dead_letters_binary.py",
    "tests/infra/amqp/test_topology_check.py",
    "tests/infra/test_process.py",
    "tests/workers/ingress/test_outages.py",
    "tests/workers/ingress/api/test_platform_accounts.py",
    "tests/workers/ingress/api/test_scopes.py",
    "tests/workers/ingress/api/test_campaign_commands.py",
    "tests/workers/ingress/backends/test_redis_errors.py",
    "tests/workers/ops/test_accessibility.py",
    "tests/workers/ops/test_events.py",
    "tests/workers/ops/test_login.py",
    "tests/e2e/test_console.py",
    "tests/infra/commands/test_topology.py",
    "tests/infra/commands/test_history_replay.py",
    "tests/infra/commands/test_restore.py",
    "tests/infra/messaging/test_large_headers.py",
    "tests/workers/ops/test_letters_in_browser.py",
    "tests/workers/ops/test_queues_in_browser.py",
    "tests/workers/ops/test_events_in_browser.py",
    "tests/workers/ops/test_frame_in_browser.py",
    "tests/infra/commands/test_dead_letters.py",
    "tests/infra/test_memory.py",
    "tests/handlers/campaigns/test_lifecycle.py",
    "tests/handlers/campaigns/test_any_order.py",
    "tests/test_guardian.py",
    "tests/infra/amqp/test_publisher.py",
    "tests/infra/deploy/test_commands.py",
    "tests/workers/ingress/test_javascript_sdk.py",
    "tests/workers/ingress/api/test_consent_in_browser.py",
)
FAULTS = "chaos"  # under this name a worker hands in its report of faults


def is_controller(config: pytest.Config) -> bool:
    """Tell whether this process distributes tests to workers and runs none."""
    return config.getoption("dist", "no") != "no" and not is_worker(config)


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process runs tests for a controller."""
    return hasattr(config, "workerinput")


def get_unit(nodeid: str) -> str:
    """Name the tests that stay together on a worker: a module; one world is for all faults."""
    module = nodeid.partition("::")[0]
    return CHAOS if module.startswith(CHAOS) else module


def order(items: list[pytest.Item]) -> None:
    """Put the units that take longest first."""
    rank = {unit: number for number, unit in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(get_unit(item.nodeid), len(rank)))


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Assigns unit after unit in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return get_unit(nodeid)


class Controller:
    """Hooks of the controller: keeps the servers between the first worker and the last."""

    def __init__(self, config: pytest.Config) -> None:
        """Prepare; nothing runs yet."""
        config.option.loadscopereorder = False
        self._config = config
        self._held = ExitStack()
        self._faults: list[str] = []

    def pytest_sessionstart(self) -> None:
        """Guard this session and its workers; called before xdist starts them."""
        temporary: Path = self._config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        guard(temporary)
        self._held.enter_context(keep_services())

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> Scheduling:
        """Replace xdist's own schedulers."""
        return Scheduling(config, log)

    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Take over the report of faults from a worker that has ended."""
        self._faults += getattr(node, "workeroutput", {}).get(FAULTS, [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the faults of the session, if there were any."""
        if self._faults:
            terminalreporter.section("chaos")
            for line in self._faults:
                terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Stop the servers, unless another session uses them."""
        self._held.close()

"""The processes as a cluster or a server runs them: one row for each line of the Procfile."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.amqp.topology import REQUEST_QUEUES, WORK_QUEUE_NAMES
from infra.commands.secret_files import PROCESS_FILES
from infra.deploy.procfile import RELEASE, read_procfile
from infra.process import CANCEL_TIMEOUT, PORTS
from infra.settings import Settings

DRAIN_SECONDS = int(Settings.model_fields["shutdown_deadline"].default)
# After SIGTERM: the drain, the end of cancelled tasks, and the connections.
STOP_SECONDS = DRAIN_SECONDS + int(2 * CANCEL_TIMEOUT)
# Load balancers learn this late that a process is going: it still answers meanwhile.
ENDPOINT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a process there is. CPU in millicores, memory in MiB, for each replica.

    ``most`` is the largest number of replicas that helps; ``queues`` say when more are needed.
    """

    cpu: int
    memory: int
    fewest: int = 2
    most: int = 2
    queues: tuple[str, ...] = ()


def _queues(prefix: str) -> tuple[str, ...]:
    names = (*WORK_QUEUE_NAMES, *(queue.name for queue in REQUEST_QUEUES))
    return tuple(sorted(name for name in names if name.startswith(prefix)))


SCALES: Mapping[str, Scale] = {
    "web": Scale(500, 256, fewest=3, most=8),
    # Each password hash takes 64 MiB (ARGON2_MEMORY_KIB).
    "auth": Scale(500, 512, most=4, queues=_queues("auth.")),
    # Two processes may take two changes of one campaign in either order.
    "campaigns": Scale(250, 256, fewest=1, most=1, queues=_queues("campaigns.")),
    "sync": Scale(250, 256, most=6, queues=_queues("sync.")),
    "metrics": Scale(250, 256, most=4, queues=_queues("metrics.")),
    # The second one is there for the case that the first fails.
    "relay": Scale(250, 256),
    # Sessions are in Redis: a browser may change from one to the other.
    "ops": Scale(250, 256),
}


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One line of the Procfile with all that a deployment says of it."""

    name: str
    command: str
    port: int
    secrets: tuple[str, ...]
    scale: Scale

    @property
    def argv(self) -> list[str]:
        """Split the command."""
        return self.command.split()


def plan_processes() -> tuple[ProcessPlan, ...]:
    """List the processes that are kept running, in the order of the Procfile.

    Raises ``KeyError`` with the name of a line that has no row in ``SCALES``, ``PORTS`` or
    ``PROCESS_FILES``.
    """
    return tuple(
        ProcessPlan(name, command, PORTS[name], PROCESS_FILES[name], SCALES[name])
        for name, command in read_procfile().items()
        if name != RELEASE
    )

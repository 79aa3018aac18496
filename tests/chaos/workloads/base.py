"""What a worker is given to do, numbered, and what must have come of it: each thing once."""

from abc import ABC, abstractmethod
from typing import Protocol

from tests.chaos.stage import Stage

COUNT = 20


class Workload(Protocol):
    """Work for the worker ``module``."""

    module: str

    async def send(self, stage: Stage) -> None:
        """Give it something to do."""

    async def between(self, stage: Stage) -> None:
        """Go on while it is dead."""

    async def done(self, stage: Stage) -> bool:
        """Tell whether nothing is left to do."""

    async def check(self, stage: Stage) -> None:
        """See that each effect is there once."""


class Queued(ABC):
    """What most of them have alike: so many events of one queue, each handled once."""

    module: str
    queue: str
    handled: int = COUNT

    @abstractmethod
    async def send(self, stage: Stage) -> None:
        """See ``Workload``."""

    async def between(self, stage: Stage) -> None:  # noqa: B027 - most of them need not do anything
        """Nothing goes on."""

    async def done(self, stage: Stage) -> bool:
        return await stage.came_to(self.queue, self.handled)

    @abstractmethod
    async def check(self, stage: Stage) -> None:
        """See ``Workload``."""

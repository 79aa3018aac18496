"""One web process among several: its number, and the socket that all of them accept from."""

import socket
from dataclasses import dataclass, field

from infra.process import PORTS
from infra.settings import Settings

NAME = "web"
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ProcessShare:
    """``number`` counts from 0; without a ``listener`` the process opens its own."""

    number: int = 0
    count: int = 1
    listener: socket.socket | None = field(default=None, repr=False)

    def divide(self, settings: Settings) -> Settings:
        """Give the settings of this process: a share of the database's connections."""
        pool = max(1, settings.database_pool // self.count)
        return settings.model_copy(update={"database_pool": pool})


ALONE = ProcessShare()


def get_web_port(settings: Settings) -> int:
    """Give the port of the API."""
    return PORTS[NAME] if settings.port is None else settings.port


def open_listener(settings: Settings) -> socket.socket:
    """Listen on the port of the API; what connects waits until a process accepts it.

    Raises ``OSError``.
    """
    family, _, _, _, address = socket.getaddrinfo(
        settings.host, get_web_port(settings), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 - its only parameter
    return listener

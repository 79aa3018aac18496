"""``python -m infra.commands.healthcheck``: whether the process of this container is ready.

Asks ``/readyz`` on ``PORT``; exit status 0 for the answer 200, else 1. Container engines run it
every few seconds, so it imports the standard library alone.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT = 4.0  # seconds
OK = 200


def is_ready(port: int) -> bool:
    """Ask the process on a port of loopback."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ["PORT"])))

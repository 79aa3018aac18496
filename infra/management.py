"""RabbitMQ's management API: what cannot be said over AMQP (vhosts, definitions, policies).

The policy gives queues that are not ours ``drop-head``: a foreign quorum queue that is full
then loses its own oldest messages instead of refusing what we publish. (For classic queues
their own ``x-overflow`` argument wins over any policy: tried on 3.10.8.)
"""

import base64
import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from infra.definitions import FOREIGN_POLICY, foreign_policy

TIMEOUT = 30.0  # seconds
OPERATOR = "operator"


class Management:
    """A client of the API at ``http://user:password@host:port``; blocking, for set-up only."""

    def __init__(self, url: str) -> None:
        """Keep the address and the credentials; nothing is connected yet."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            raise ValueError("the management URL must be http or https")
        self._base = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}/api"
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._authorization = "Basic " + base64.b64encode(login.encode()).decode()

    def call(self, method: str, *path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Call the API; raises ``urllib.error.HTTPError`` for a refusal, ``OSError`` else."""
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            "/".join((self._base, *(quote(part, safe="") for part in path))),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": self._authorization, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - as above
            text = answer.read()
        return json.loads(text) if text else None

    def answers(self) -> bool:
        """Tell whether the API takes our credentials."""
        try:
            self.call("GET", "whoami")
        except OSError:
            return False
        return True

    def add_vhost(self, vhost: str) -> None:
        """Make a vhost, or keep it."""
        self.call("PUT", "vhosts", vhost, body={})

    def remove_vhost(self, vhost: str) -> None:
        """Delete a vhost with all that is in it; a missing one is no error."""
        try:
            self.call("DELETE", "vhosts", vhost)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise

    def vhosts(self) -> list[str]:
        """List the names of the vhosts."""
        return [vhost["name"] for vhost in self.call("GET", "vhosts")]

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Make or change what ``infra.definitions`` names; what it does not name stays."""
        self.call("POST", "definitions", body=definitions)

    def protect_publishing(self, vhost: str) -> None:
        """Let queues outside our names drop their oldest messages when they are full."""
        self.call("PUT", "policies", vhost, FOREIGN_POLICY, body=foreign_policy())

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

from infra.amqp.permissions import FOREIGN_QUEUE_POLICY, foreign_queue_policy

REQUEST_TIMEOUT = 30.0  # seconds
OPERATOR_USER = "operator"
MAX_REASON_BYTES = 2000  # of a refusal
# What definitions say of who may do what. It is imported last: a topic permission needs its
# exchange, without which newer brokers refuse it (rabbitmq-server, pull request 16587) and
# older ones with Khepri can never declare that exchange again (pull request 14407).
PERMISSION_SECTIONS = ("permissions", "topic_permissions")


class ManagementApiError(OSError):
    """The management API said no; the message has the broker's own reason.

    ``status`` is that of its answer.
    """

    def __init__(self, status: int, message: str) -> None:
        """Keep the status of the answer and what it said."""
        super().__init__(message)
        self.status = status


class ManagementApi:
    """A client of the API at ``http://user:password@host:port``; blocking, for set-up only."""

    def __init__(self, url: str) -> None:
        """Keep the address and the credentials; nothing is connected yet."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            raise ValueError("the management URL must be http or https")
        self._base = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}/api"
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._authorization = "Basic " + base64.b64encode(login.encode()).decode()

    def call(
        self,
        method: str,
        *path: str,
        body: object = None,
        query: str = "",
        limit: float = REQUEST_TIMEOUT,
    ) -> Any:  # noqa: ANN401 - JSON
        """Call the API; raises ``ManagementApiError`` for a refusal, another ``OSError`` else."""
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            "/".join((self._base, *(quote(part, safe="") for part in path)))
            + (f"?{query}" if query else ""),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": self._authorization, "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=limit) as answer:  # noqa: S310 - as above
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise _refusal(f"{method} {'/'.join(path)}", error) from None
        return json.loads(text) if text else None

    def topology(self, vhost: str, limit: float) -> tuple[Any, Any, Any]:
        """List the exchanges, queues and bindings of a vhost; ``limit`` seconds for each."""
        exchanges = self.call("GET", "exchanges", vhost, limit=limit)
        # Without the columns the broker would also sum up what every queue did lately.
        columns = "columns=name,durable,arguments"
        queues = self.call("GET", "queues", vhost, query=columns, limit=limit)
        return exchanges, queues, self.call("GET", "bindings", vhost, limit=limit)

    def is_available(self) -> bool:
        """Tell whether the API takes our credentials."""
        try:
            self.call("GET", "whoami")
        except OSError:
            return False
        return True

    def create_vhost(self, vhost: str) -> None:
        """Make a vhost, or keep it."""
        self.call("PUT", "vhosts", vhost, body={})

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost with all that is in it; a missing one is no error."""
        try:
            self.call("DELETE", "vhosts", vhost)
        except ManagementApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def list_vhosts(self) -> list[str]:
        """List the names of the vhosts."""
        return [vhost["name"] for vhost in self.call("GET", "vhosts")]

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Make or change what ``infra.amqp.permissions`` names; what it does not name stays.

        Exchanges come first, permissions in a step of their own.
        """
        resources = {
            name: of for name, of in definitions.items() if name not in PERMISSION_SECTIONS
        }
        permissions = {name: of for name, of in definitions.items() if name in PERMISSION_SECTIONS}
        self.call("POST", "definitions", body=resources)
        self.call("POST", "definitions", body=permissions)

    def set_overflow_policy(self, vhost: str) -> None:
        """Let queues outside our names drop their oldest messages when they are full."""
        self.call("PUT", "policies", vhost, FOREIGN_QUEUE_POLICY, body=foreign_queue_policy())


def _refusal(what: str, error: urllib.error.HTTPError) -> ManagementApiError:
    """Say what was refused and why, in the broker's words, bounded and on one line."""
    said = error.read(MAX_REASON_BYTES).decode(errors="replace")
    try:
        answer = json.loads(said)
        reason = f"{answer['error']}: {answer['reason']}"
    except (ValueError, TypeError, KeyError):
        reason = said
    words = " ".join(reason.split()) or error.reason
    return ManagementApiError(error.code, f"{what}: {error.code} {words}")

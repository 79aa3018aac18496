"""RabbitMQ's management API: what AMQP cannot do (vhosts, definitions, policies, listings)."""

import base64
import json
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from yarl import URL

from infra.amqp.policies import LogRetention, policies
from infra.settings import Settings
from infra.tls import NO_TLS_FILES, TlsFiles, UnusableTlsFiles, get_tls_context
from infra.tls_errors import describe_closed_connection

REQUEST_TIMEOUT = 30.0  # seconds
IMPORT_TIMEOUT = 180.0  # seconds; a broker on a busy host takes its time for all of it
DEFAULT_PORTS = {"http": 15672, "https": 15671}
OPERATOR_USER = "operator"
MAX_REASON_BYTES = 2000  # of the body of an error
# The sections of definitions that hold permissions. They are imported last: a topic permission
# needs its exchange, without which newer brokers refuse it (rabbitmq-server, pull request 16587)
# and older ones with Khepri can never declare that exchange again (pull request 14407).
PERMISSION_SECTIONS = ("permissions", "topic_permissions")


class ManagementApiError(OSError):
    """The management API answered with an error; the message has the broker's own reason.

    ``status`` is the HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        """Keep the status of the answer and the reason."""
        super().__init__(message)
        self.status = status


class ManagementApi:
    """A client of the API at ``http://user:password@host:port``.

    Every method raises ``ManagementApiError`` for an error of the API, and another ``OSError``
    (``TimeoutError`` among them) when there is no answer.
    """

    def __init__(self, url: str, tls: TlsFiles = NO_TLS_FILES) -> None:
        """Keep the address, the credentials and the files of TLS; nothing is connected yet.

        Raises ``ValueError`` for another scheme than http and https.
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("the management URL must be http or https")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._base = f"{parts.scheme}://{host}:{port}/api"
        self._tls = tls
        login = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        self._headers = {
            "authorization": "Basic " + base64.b64encode(login.encode()).decode(),
            "content-type": "application/json",
        }

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Make the client that the settings name; None without RABBITMQ_MANAGEMENT_URL."""
        url = settings.rabbitmq_management_url
        return None if url is None else cls(url.get_secret_value(), settings.tls("rabbitmq"))

    async def call(
        self,
        method: str,
        *path: str,
        body: object = None,
        query: str = "",
        timeout: float = REQUEST_TIMEOUT,  # noqa: ASYNC109 - aiohttp bounds the whole request
    ) -> Any:  # noqa: ANN401 - JSON
        """Call the API at a path of these segments; returns the JSON of the answer, or None."""
        address = "/".join((self._base, *(quote(segment, safe="") for segment in path)))
        url = URL(address + (f"?{query}" if query else ""), encoded=True)
        data = None if body is None else json.dumps(body).encode()
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, headers=self._headers) as session,
                session.request(method, url, data=data, ssl=self._get_tls()) as response,
            ):
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise await _to_error(f"{method} {'/'.join(path)}", response)
                text = await response.read()
        except (aiohttp.ClientError, UnusableTlsFiles) as error:
            raise ConnectionError(self._in_words(error)) from error
        return json.loads(text) if text else None

    async def read_clock(self, timeout: float) -> datetime:  # noqa: ASYNC109 - as above
        """Read the broker's clock, to a second; raises ``ValueError`` if the answer has none."""
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit, headers=self._headers) as session,
                session.get(
                    URL(f"{self._base}/whoami", encoded=True), ssl=self._get_tls()
                ) as response,
            ):
                return parsedate_to_datetime(response.headers.get("Date", ""))
        except (aiohttp.ClientError, UnusableTlsFiles) as error:
            raise ConnectionError(self._in_words(error)) from error

    def _get_tls(self) -> ssl.SSLContext | bool:
        return get_tls_context(self._tls) if self._tls else True

    def _in_words(self, error: Exception) -> str:
        words = describe_closed_connection(error) if self._base.startswith("https") else None
        return words or str(error) or type(error).__name__

    async def list_topology(self, vhost: str, timeout: float) -> tuple[Any, Any, Any]:  # noqa: ASYNC109 - as above
        """List the exchanges, queues and bindings of a vhost; ``timeout`` seconds for each."""
        exchanges = await self.call("GET", "exchanges", vhost, timeout=timeout)
        # Without the columns the broker would also sum up the recent work of every queue.
        columns = "columns=name,durable,arguments"
        queues = await self.call("GET", "queues", vhost, query=columns, timeout=timeout)
        return exchanges, queues, await self.call("GET", "bindings", vhost, timeout=timeout)

    async def is_available(self) -> bool:
        """Check whether the API answers and accepts the credentials."""
        try:
            await self.call("GET", "whoami")
        except OSError:
            return False
        return True

    async def create_vhost(self, vhost: str) -> None:
        """Create a vhost; one that exists stays as it is."""
        await self.call("PUT", "vhosts", vhost, body={})

    async def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost with everything in it; a missing one is no error."""
        try:
            await self.call("DELETE", "vhosts", vhost)
        except ManagementApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def list_vhosts(self) -> list[str]:
        """List the names of the vhosts."""
        return [vhost["name"] for vhost in await self.call("GET", "vhosts")]

    async def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Create or change what ``infra.amqp.permissions`` names; everything else stays.

        Exchanges come first, permissions in a request of their own.
        """
        resources = {
            name: definitions[name] for name in definitions if name not in PERMISSION_SECTIONS
        }
        permissions = {
            name: definitions[name] for name in definitions if name in PERMISSION_SECTIONS
        }
        await self.call("POST", "definitions", body=resources, timeout=IMPORT_TIMEOUT)
        await self.call("POST", "definitions", body=permissions, timeout=IMPORT_TIMEOUT)

    async def set_policies(self, vhost: str, retention: LogRetention) -> None:
        """Create or change every policy of ``infra.amqp.policies``."""
        for name, policy in policies(retention).items():
            await self.call("PUT", "policies", vhost, name, body=policy)


async def _to_error(request: str, response: aiohttp.ClientResponse) -> ManagementApiError:
    """Say what failed and why, in the broker's words, bounded and on one line."""
    text = (await response.content.read(MAX_REASON_BYTES)).decode(errors="replace")
    try:
        answer = json.loads(text)
        reason = f"{answer['error']}: {answer['reason']}"
    except (ValueError, TypeError, KeyError):
        reason = text
    words = " ".join(reason.split()) or response.reason
    return ManagementApiError(response.status, f"{request}: {response.status} {words}")

"""The management API for code that is not asynchronous: the set-up of servers and tests."""

from typing import Any

from infra.amqp.management_api import REQUEST_TIMEOUT, ManagementApi
from infra.deploy.services.threads import run_in_thread


class BlockingManagementApi:
    """Runs each call of ``ManagementApi`` to its end; raises what that raises."""

    def __init__(self, url: str) -> None:
        """Keep the address; raises ``ValueError`` for a wrong one."""
        self._api = ManagementApi(url)

    def call(
        self,
        method: str,
        *path: str,
        body: object = None,
        query: str = "",
        timeout: float = REQUEST_TIMEOUT,
    ) -> Any:  # noqa: ANN401 - JSON
        """Call the API; ``timeout`` is in seconds."""
        return run_in_thread(
            lambda: self._api.call(method, *path, body=body, query=query, timeout=timeout)
        )

    def is_available(self) -> bool:
        """Check whether the API answers and accepts the credentials."""
        return run_in_thread(self._api.is_available)

    def create_vhost(self, vhost: str) -> None:
        """Create a vhost; one that exists stays as it is."""
        run_in_thread(lambda: self._api.create_vhost(vhost))

    def delete_vhost(self, vhost: str) -> None:
        """Delete a vhost with everything in it; a missing one is no error."""
        run_in_thread(lambda: self._api.delete_vhost(vhost))

    def list_vhosts(self) -> list[str]:
        """List the names of the vhosts."""
        return run_in_thread(self._api.list_vhosts)

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Create or change what the definitions name."""
        run_in_thread(lambda: self._api.import_definitions(definitions))

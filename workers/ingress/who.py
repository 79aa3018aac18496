"""Who may use a route: roles of accounts, and the scope that an API key needs for it."""

from dataclasses import dataclass

from schemas.accounts import Role
from workers.ingress.callers import Caller
from workers.ingress.refusals import forbidden, unauthenticated


@dataclass(frozen=True, slots=True)
class Who:
    """Accounts with one of ``roles``, and API keys with ``scope`` (none without a scope).

    A key holds a scope as it stands, or narrowed: ``events:publish:campaign.*`` is a
    holder of ``events:publish``, and its handler looks at the rest.
    """

    roles: frozenset[Role] = frozenset()
    scope: str | None = None
    anyone: bool = False

    def check(self, caller: Caller | None) -> None:
        """Raise a ``Refusal`` unless the caller may: 401 without one, 403 with another."""
        if self.anyone:
            return
        if caller is None:
            raise unauthenticated()
        if caller.key is None:
            if caller.role not in self.roles:
                raise forbidden("Your account may not do this.")
        elif self.scope is None:
            raise forbidden("An API key may not do this.")
        elif not any(_covers(held, self.scope) for held in caller.key.scopes):
            raise forbidden(f"This needs an API key with the scope {self.scope}.")


def _covers(held: str, wanted: str) -> bool:
    return held == wanted or held.startswith(f"{wanted}:")


ANYONE = Who(anyone=True)
PEOPLE = Who(frozenset({"admin", "manager", "viewer"}))
READERS = Who(frozenset({"admin", "manager", "viewer"}), "campaigns:read")
WRITERS = Who(frozenset({"admin", "manager"}), "campaigns:write")
PUBLISHERS = Who(scope="events:publish")

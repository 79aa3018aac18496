"""Who a request acts for: a user, or an API key for its owner."""

from dataclasses import dataclass
from uuid import UUID

from infra.storage.api_keys import ApiKey
from schemas.users import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated user of a request, and the API key that acts for the user, if any.

    ``name`` is for logs and rate limits. ``scopes`` are those of the access token or the key. A
    key reaches only its owner's own objects: the key of an admin does not reach all.
    """

    user_id: UUID
    role: Role
    name: str
    scopes: frozenset[str]
    session_id: str | None = None
    api_key: ApiKey | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the principal may see the objects of all users."""
        return self.role == "admin"

    def may_see(self, owner: UUID | None) -> bool:
        """Whether the principal may see an object that belongs to ``owner``."""
        return self.is_admin or owner == self.user_id

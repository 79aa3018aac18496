"""Permissions of an account: the scopes of its role (RFC 6749, section 3.3).

The auth worker puts them into access tokens (``scope``, RFC 9068, section 2.2.3); each route
of the ingress requires one. The role is read once, when the token is signed.
"""

from collections.abc import Mapping

from schemas.users import Role

_VIEWER = frozenset({"account", "campaigns:read"})
_MANAGER = _VIEWER | {"campaigns:write", "platforms"}
_ADMIN = _MANAGER | {"keys", "users", "audit", "dead", "events:read", "queues"}

ROLE_SCOPES: Mapping[Role, frozenset[str]] = {
    "admin": _ADMIN,
    "manager": _MANAGER,
    "viewer": _VIEWER,
}
ALL_SCOPES: frozenset[str] = frozenset().union(*ROLE_SCOPES.values())


def format_scopes(role: Role) -> str:
    """Return the scopes of a role, separated by spaces."""
    return " ".join(sorted(ROLE_SCOPES[role]))

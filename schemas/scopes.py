"""What an account may do: the scopes of its role (RFC 6749, section 3.3).

The auth worker writes them into access tokens (``scope``, RFC 9068, section 2.2.3); the
ingress asks for them at each route. The role is looked up once, when the token is signed.
"""

from collections.abc import Mapping

from schemas.users import Role

_VIEWER = frozenset({"account", "campaigns:read"})
_MANAGER = _VIEWER | {"campaigns:write", "platforms"}
_ADMIN = _MANAGER | {"keys", "users", "audit", "dead"}

ROLE_SCOPES: Mapping[Role, frozenset[str]] = {
    "admin": _ADMIN,
    "manager": _MANAGER,
    "viewer": _VIEWER,
}
ALL_SCOPES: frozenset[str] = frozenset().union(*ROLE_SCOPES.values())


def format_scopes(role: Role) -> str:
    """Write the scopes of a role as one text, separated by spaces."""
    return " ".join(sorted(ROLE_SCOPES[role]))

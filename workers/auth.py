"""The auth worker: accounts, sessions, API keys, platform accounts.

Batches of one, many at once: a slow password hash delays no other request. It also refreshes the
tokens of connected platform accounts (``handlers.auth.token_refresh``).
"""

from events import AUTH_REQUESTS, RegistrationRequested
from handlers.auth.actions import prepare_auth_requests
from handlers.auth.handlers import complete_auth_requests
from handlers.auth.keys import require_keys
from handlers.auth.requests import AuthRequest
from handlers.auth.token_refresh import refresh_tokens_forever
from infra.messaging.subscription import Subscription
from infra.process import main

REGISTRATIONS: tuple[type[AuthRequest], ...] = (RegistrationRequested,)
SESSION_REQUESTS: tuple[type[AuthRequest], ...] = AUTH_REQUESTS

SUBSCRIPTIONS = (
    Subscription(
        "auth.register",
        REGISTRATIONS,
        complete_auth_requests,
        prepare=prepare_auth_requests,
        batch=1,
        parallel=8,
    ),
    Subscription(
        "auth.session",
        SESSION_REQUESTS,
        complete_auth_requests,
        prepare=prepare_auth_requests,
        batch=1,
        parallel=16,
    ),
)

if __name__ == "__main__":
    main("auth", SUBSCRIPTIONS, forever=(refresh_tokens_forever,), check=require_keys)

"""The auth worker: accounts, sessions, API keys. A slow hash holds up no other request.

It also keeps the tokens of connected platform accounts fresh (``handlers.auth.token_refresh``).
"""

from events import AUTH_REQUESTS, RegistrationRequested
from handlers.auth.handlers import (
    handle_sessions,
    open_registrations,
    open_sessions,
    register_users,
)
from handlers.auth.requests import check_keys
from handlers.auth.token_refresh import keep_accounts
from infra.messaging.subscription import Subscription
from infra.process import main
from infra.settings import load_settings, require

SUBSCRIPTIONS = (
    Subscription(
        "auth.register",
        (RegistrationRequested,),
        register_users,
        prepare=open_registrations,
        batch=1,
        parallel=8,
    ),
    Subscription(
        "auth.session",
        AUTH_REQUESTS,
        handle_sessions,
        prepare=open_sessions,
        batch=1,
        parallel=16,
    ),
)

if __name__ == "__main__":
    require(check_keys, load_settings())
    main("auth", SUBSCRIPTIONS, forever=(keep_accounts,))

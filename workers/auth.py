"""The auth worker: accounts, sessions, API keys. A slow hash holds up no other request.

It also keeps the tokens of connected platform accounts fresh (``handlers.renewals``).
"""

from events import AUTH_REQUESTS, RegistrationRequested
from handlers.auth import handle_sessions, open_registrations, open_sessions, register_users
from handlers.credentials import check_keys
from handlers.renewals import keep_accounts
from infra.run import main
from infra.settings import load_settings, require
from infra.subscription import Subscription

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

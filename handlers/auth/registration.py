"""Registers an account, and resolves a race for the same e-mail address.

The same registration again, by ``Idempotency-Key``, address and password, gets the same reply as
the first: its sender may have missed that one. Any other registration of an address that has
an account gets the same error whatever its password is, so it cannot be used to guess one.

The id of an account is derived from its request, so it is the same when the request is handled
again after a restore from the event log.
"""

from uuid import NAMESPACE_URL, UUID, uuid5

from events import UserRegistered
from events.sources import AUTH_SOURCE
from events.users import UserRegisteredData
from handlers.auth.commands import RegisterUser, StartSession
from handlers.auth.login import start_session
from handlers.auth.replies import error_reply, token_reply, validation_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest, session_started_event
from infra.errors import Transient
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.email_address import InvalidEmail, normalise_email
from infra.security.passwords import check_strength
from infra.storage.sessions import insert_session
from infra.storage.users import UserRow, find_user_row, insert_users
from schemas.users import KeyedRegistration, User

EMAIL_TAKEN = error_reply(409, "EMAIL_TAKEN", "There is an account with this e-mail address.")


async def prepare_registration(
    request: AuthRequest, registration: KeyedRegistration, resources: Resources
) -> PreparedRequest | AuthResult:
    """Check a registration, hash its password and issue a refresh token."""
    try:
        email = normalise_email(registration.email)
    except InvalidEmail as error:
        return AuthResult(request, validation_reply([{"field": "email", "message": str(error)}]))
    weakness = check_strength(registration.password)
    if weakness is not None:
        return AuthResult(request, validation_reply([{"field": "password", "message": weakness}]))
    async with resources.engine.connect() as connection:
        existing = await find_user_row(connection, email)
    if existing is not None:
        session = await _start_again(registration, existing, resources)
        if session is None:
            return AuthResult(request, EMAIL_TAKEN, subject=str(existing.user.id))
        return PreparedRequest(request, session)
    hashed = await resources.passwords.hash(registration.password)
    user = User(id=_derive_user_id(request), email=email, role="manager")
    issued = await resources.keys.refresh_tokens.issue(user.id)
    row = UserRow(user, hashed, registration.registration_id)
    return PreparedRequest(request, RegisterUser(row, registration, issued))


def _derive_user_id(request: AuthRequest) -> UUID:
    """Derive the id of an account: a UUIDv5 of the source and the id of its registration."""
    return uuid5(NAMESPACE_URL, f"user\n{request.source}\n{request.id}")


async def register_user(
    prepared: PreparedRequest, command: RegisterUser, ctx: Context
) -> AuthResult:
    """Write the account and its first session, or treat the request as one that lost the race.

    Raises ``Transient`` when the account that took the address is gone already.
    """
    user, session = command.row.user, command.issued.session
    if user.id not in await insert_users(ctx.tx, [command.row]):
        return await _lose_race(prepared, command, ctx)
    await insert_session(ctx.tx, session, command.row.password_hash, prepared.client, ctx.now)
    registered = UserRegistered.caused_by(
        prepared.request,
        source=AUTH_SOURCE,
        data=UserRegisteredData(user_id=user.id, role=user.role),
    )
    return prepared.result(
        token_reply(201, ctx.resources, user, command.issued),
        [registered, session_started_event(prepared.request, session)],
        actor=user.id,
    )


async def _lose_race(prepared: PreparedRequest, command: RegisterUser, ctx: Context) -> AuthResult:
    """Answer for the account that has the address by now."""
    await ctx.resources.keys.refresh_tokens.revoke([command.issued.session.id])
    winner = await find_user_row(ctx.tx, command.row.user.email)
    if winner is None:
        raise Transient("the account was taken and is gone", events=[prepared.request])
    # Verifies a hash while the transaction is open; lost races are rare enough for that.
    session = await _start_again(command.registration, winner, ctx.resources)
    if session is None:
        return prepared.result(EMAIL_TAKEN, subject=str(winner.user.id))
    return await start_session(prepared, session, ctx)


async def _start_again(
    registration: KeyedRegistration, existing: UserRow, resources: Resources
) -> StartSession | None:
    """Start another session if a registration repeats the one that made the account."""
    key = registration.registration_id
    if key is None or key != existing.registration_id:
        return None
    if not await resources.passwords.verify(registration.password, existing.password_hash):
        return None
    issued = await resources.keys.refresh_tokens.issue(existing.user.id)
    return StartSession(existing, issued, status=201)

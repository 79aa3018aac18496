"""A registration: checked, hashed, and settled with whoever has the address by then.

The same registration again, by ``Idempotency-Key``, address and password, is answered as the
first was: its sender may have missed the answer. Any other registration of an address that has
an account is answered the same whatever its password is, so that it is no way to guess one.
"""

from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from pydantic import ValidationError

from events import RegistrationRequested, UserRegistered
from events.sources import AUTH_SOURCE
from events.users import UserRegisteredData
from handlers.auth.login import beginning, let_in
from handlers.auth.requests import (
    Answer,
    account_of,
    details_of,
    invalid,
    open_sealed,
    refusal,
    sessions_of,
    started,
    tokens_reply,
)
from infra.errors import Failure, Permanent, Transient
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.email_address import InvalidEmail, normalise_email
from infra.security.passwords import check_strength
from infra.security.refresh_tokens import IssuedToken
from infra.security.sealed_box import InvalidBox
from infra.storage.users import UserRow, find_user_row
from schemas.users import ClientInfo, KeyedRegistration, User

TAKEN = refusal(409, "EMAIL_TAKEN", "There is an account with this e-mail address.")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that nobody had a moment ago, and the session to begin it with."""

    request: RegistrationRequested
    account: UserRow
    body: KeyedRegistration = field(repr=False)
    issued: IssuedToken
    client: ClientInfo


async def open_registration(
    request: RegistrationRequested, resources: Resources
) -> Candidate | Answer | Failure:
    """Check a registration and hash its password; what is not ours to open is dead."""
    try:
        body, client = open_sealed(request, KeyedRegistration, resources.settings)
    except InvalidBox as broken:
        return Permanent(str(broken), code="DECRYPTION_FAILED")
    except ValidationError as error:
        return Answer(request, invalid(details_of(error)))
    opened = await _check(request, body, client, resources)
    return replace(opened, client=client) if isinstance(opened, Answer) else opened


async def _check(
    request: RegistrationRequested,
    body: KeyedRegistration,
    client: ClientInfo,
    resources: Resources,
) -> Candidate | Answer:
    try:
        email = normalise_email(body.email)
    except InvalidEmail as error:
        return Answer(request, invalid([{"field": "email", "message": str(error)}]))
    weak = check_strength(body.password)
    if weak is not None:
        return Answer(request, invalid([{"field": "password", "message": weak}]))
    account = await account_of(resources, email)
    if account is not None:
        return await _repeat(request, account, body, resources)
    hashed = await resources.passwords.hash(body.password)
    user = User(id=uuid4(), email=email, role="manager")
    account = UserRow(user, hashed, body.registration_id)
    issued = await sessions_of(resources).issue(account.user.id)
    return Candidate(request, account, body, issued, client)


async def settle(candidate: Candidate, added: set[UUID], ctx: Context) -> Answer:
    """Answer a candidate, whose account was ``added`` or whose address somebody else has."""
    request, user = candidate.request, candidate.account.user
    if user.id in added:
        registered = UserRegistered.caused_by(
            request, source=AUTH_SOURCE, data=UserRegisteredData(user_id=user.id, role=user.role)
        )
        reply = tokens_reply(201, ctx.resources.settings, user, candidate.issued)
        session = candidate.issued.session
        caused = (registered, started(request, session))
        begin = beginning(session, candidate.account)
        return Answer(request, reply, caused, finish=begin, client=candidate.client, actor=user.id)
    # The race for the address is lost. It is rare enough to hash with the transaction open.
    await sessions_of(ctx.resources).revoke([candidate.issued.session.id])
    winner = await find_user_row(ctx.tx, user.email)
    if winner is None:
        raise Transient("the account was taken and is gone", events=[candidate])
    answer = await _repeat(request, winner, candidate.body, ctx.resources)
    return replace(answer, client=candidate.client)


async def _repeat(
    request: RegistrationRequested,
    account: UserRow,
    body: KeyedRegistration,
    resources: Resources,
) -> Answer:
    """Answer a registration whose address has an account: a repetition of its own, or not."""
    repeated = body.registration_id is not None and body.registration_id == account.registration_id
    if repeated and await resources.passwords.verify(body.password, account.password_hash):
        return await let_in(request, account, resources, status=201)
    return Answer(request, TAKEN, subject=str(account.user.id))

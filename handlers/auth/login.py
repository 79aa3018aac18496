"""Being let in: the password fits, a session begins.

An unknown address and a wrong password cost the same time and are answered the same.
"""

from handlers.auth.requests import (
    Answer,
    Finish,
    Sealed,
    account_of,
    refusal,
    sessions_of,
    started,
    tokens_reply,
)
from infra.errors import Transient
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.email_address import InvalidEmail, normalise_email
from infra.security.refresh_tokens import Session
from infra.storage.sessions import insert_session
from infra.storage.users import UserRow, replace_password_hash
from schemas.users import Login

WRONG = refusal(401, "INVALID_CREDENTIALS", "E-mail address or password is wrong.")


async def log_in(request: Sealed, login: Login, resources: Resources) -> Answer:
    """Let in whoever knows the password."""
    try:
        account = await account_of(resources, normalise_email(login.email))
    except InvalidEmail:
        account = None
    stored = account.password_hash if account else None
    fits = await resources.passwords.verify(login.password, stored)
    if account is None or not fits:
        return Answer(request, WRONG, subject=str(account.user.id) if account else None)
    fresh = None
    if resources.passwords.is_outdated(account.password_hash):
        fresh = await resources.passwords.hash(login.password)
    return await let_in(request, account, resources, status=200, fresh=fresh)


async def let_in(
    request: Sealed,
    account: UserRow,
    resources: Resources,
    *,
    status: int,
    fresh: str | None = None,
) -> Answer:
    """Begin a session for who knows the password of this hash.

    ``fresh`` is a hash of the same password with today's parameters, to be kept instead.
    """
    issued = await sessions_of(resources).issue(account.user.id)
    reply = tokens_reply(status, resources.settings, account.user, issued)
    return Answer(
        request,
        reply,
        (started(request, issued.session),),
        finish=beginning(issued.session, account, fresh),
        actor=account.user.id,
        subject=issued.session.id,
    )


def beginning(session: Session, account: UserRow, fresh: str | None = None) -> Finish:
    """Write a session down, unless the password has been changed meanwhile."""

    async def begin(answer: Answer, ctx: Context) -> Answer:
        known = account.password_hash
        if fresh and await replace_password_hash(ctx.tx, account.user.id, known, fresh):
            known = fresh
        if not await insert_session(ctx.tx, session, known, answer.client, ctx.now):
            raise Transient("the password has just been changed")
        return answer

    return begin

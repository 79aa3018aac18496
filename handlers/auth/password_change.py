"""Another password: the old one is shown, and every other session is over.

A wrong current password is answered with 403: the access token was good, and a 401 would
have clients throw it away. Its code is that of a failed login, for whoever counts those.
"""

from dataclasses import replace

from events import UserPasswordChanged
from events.sources import AUTH_SOURCE
from events.users import UserPasswordChangedData
from handlers.auth.requests import DONE, Answer, Finish, Sealed, account_of, invalid, refusal
from handlers.auth.session_revocation import OVER, told
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.passwords import check_strength
from infra.storage.sessions import end_sessions_of, expiry_cutoff, is_live
from infra.storage.users import UserRow, replace_password_hash
from schemas.sessions import AccountPasswordChange

WRONG = refusal(403, "INVALID_CREDENTIALS", "The current password is wrong.")


async def change_password(
    request: Sealed, body: AccountPasswordChange, resources: Resources
) -> Answer:
    """Verify the current password and hash the new one; the transaction does the rest."""
    weak = check_strength(body.new_password)
    if weak is not None:
        return Answer(request, invalid([{"field": "new_password", "message": weak}]))
    account = await account_of(resources, body.account)
    stored = account.password_hash if account else None
    fits = await resources.passwords.verify(body.current_password, stored)
    if account is None or not fits:
        return Answer(request, WRONG, subject=str(body.account))
    fresh = await resources.passwords.hash(body.new_password)
    return Answer(request, DONE, finish=_changing(account, fresh), subject=str(body.account))


def _changing(account: UserRow, fresh: str) -> Finish:
    user = account.user

    async def change(answer: Answer, ctx: Context) -> Answer:
        own, since = answer.client.session_id, expiry_cutoff(ctx.resources.settings, ctx.now)
        if not await is_live(ctx.tx, own, user.id, since):
            return replace(answer, reply=OVER)
        # Whoever logs in at this moment waits for us, and then the old password is of no use.
        if not await replace_password_hash(ctx.tx, user.id, account.password_hash, fresh):
            return replace(answer, reply=WRONG)
        others = await end_sessions_of(
            ctx.tx, user.id, "password_changed", since=since, at=ctx.now, but=own
        )
        changed = UserPasswordChanged.caused_by(
            answer.request,
            source=AUTH_SOURCE,
            data=UserPasswordChangedData(user_id=user.id, role=user.role),
        )
        return told(replace(answer, caused=(changed,)), others, "password_changed", ctx)

    return change

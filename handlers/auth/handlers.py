"""Handles requests about accounts, sessions, API keys and platform accounts.

    prepare, no transaction open (handlers.auth.actions)    handler, one short transaction
    decrypt, look up, hash, rotate the token in Redis    -> apply the command, audit, reply,
                                                            return events

A request that is repeated because its reply was lost has the same result: a registration is
the same by ``Idempotency-Key``, address and password, a refresh token yields its successor
again, a session ends once.
"""

from collections.abc import Sequence
from functools import cache
from typing import assert_never

from events.envelope import Event
from handlers.auth.admin_commands import (
    change_role,
    create_api_key,
    revoke_api_key,
    run_as_admin,
)
from handlers.auth.commands import (
    ChangePassword,
    ChangeRole,
    ConnectAccount,
    CreateApiKey,
    DisconnectAccount,
    RecordRefresh,
    RegisterUser,
    RevokeApiKey,
    RevokeOwnSessions,
    RevokeSession,
    StartSession,
)
from handlers.auth.login import start_session
from handlers.auth.password_change import change_password
from handlers.auth.platform_accounts import connect_account, disconnect_account
from handlers.auth.registration import register_user
from handlers.auth.results import AuthResult, PreparedRequest, audit_event
from handlers.auth.session_refresh import record_refresh
from handlers.auth.session_revocation import revoke_own_sessions, revoke_session
from infra import metrics
from infra.messaging.context import Context
from infra.storage.audit import insert_audit_entries

requests_counter = cache(metrics.AUTH_REQUESTS.labels)


async def complete_auth_requests(
    prepared: list[PreparedRequest | AuthResult], ctx: Context
) -> Sequence[Event]:
    """Apply the commands, write the audit log, reply, and return the events they caused."""
    results = [
        await apply_command(one, ctx) if isinstance(one, PreparedRequest) else one
        for one in prepared
    ]
    audited = [audit_event(result) for result in results if result.is_audited]
    await insert_audit_entries(ctx.tx, audited)
    for result in results:
        requests_counter(result.action, result.outcome).inc()
        ctx.reply(result.request, result.reply)
    return [*(event for result in results for event in result.caused), *audited]


async def apply_command(prepared: PreparedRequest, ctx: Context) -> AuthResult:  # noqa: PLR0911, C901 - one line for each command
    """Write what a command says, in the transaction of ``ctx``."""
    match prepared.command:
        case RegisterUser() as command:
            return await register_user(prepared, command, ctx)
        case StartSession() as command:
            return await start_session(prepared, command, ctx)
        case RecordRefresh() as command:
            return await record_refresh(prepared, command, ctx)
        case RevokeSession() as command:
            return await revoke_session(prepared, command, ctx)
        case RevokeOwnSessions() as command:
            return await revoke_own_sessions(prepared, command, ctx)
        case ChangePassword() as command:
            return await change_password(prepared, command, ctx)
        case CreateApiKey() as command:
            return await run_as_admin(create_api_key, prepared, command, ctx)
        case RevokeApiKey() as command:
            return await run_as_admin(revoke_api_key, prepared, command, ctx)
        case ChangeRole() as command:
            return await run_as_admin(change_role, prepared, command, ctx)
        case ConnectAccount() as command:
            return await connect_account(prepared, command, ctx)
        case DisconnectAccount() as command:
            return await disconnect_account(prepared, command, ctx)
        case never:
            assert_never(never)

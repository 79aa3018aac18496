"""Accounts and sessions: who registers, logs in, refreshes and logs out.

    prepare, no transaction open                          handler, one short transaction
    open the seal, look up, hash, turn the session in  -> accounts, hashes and sessions
    Redis                                                 written, replies, events

A request that is repeated because its answer was lost comes to the same: a registration is
the same by ``Idempotency-Key``, address and password, a refresh token yields its successor
again, a session ends once.
"""

from collections.abc import Sequence
from functools import cache

from events import RegistrationRequested
from events.envelope import Event
from handlers.auth.actions import open_session
from handlers.auth.registration import Candidate, open_registration, settle
from handlers.auth.requests import Answer, Sealed, act_of, finish
from infra import metrics
from infra.errors import Failure
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.audit import insert_audit_entries
from infra.storage.users import insert_users

meter_of = cache(metrics.AUTH_REQUESTS.labels)


async def open_registrations(
    requests: list[RegistrationRequested], resources: Resources
) -> list[Candidate | Answer | Failure]:
    """Open, check and hash: what each registration comes to unless a race is lost."""
    return [await open_registration(request, resources) for request in requests]


async def register_users(prepared: list[Candidate | Answer], ctx: Context) -> Sequence[Event]:
    """Write the accounts whose addresses are still free, and answer everybody."""
    candidates = [one for one in prepared if isinstance(one, Candidate)]
    added = await insert_users(ctx.tx, [one.account for one in candidates])
    answers = [
        one if isinstance(one, Answer) else await settle(one, added, ctx) for one in prepared
    ]
    return await _give([await finish(answer, ctx) for answer in answers], ctx)


async def open_sessions(requests: list[Sealed], resources: Resources) -> list[Answer]:
    """Do what logins, refreshes, logouts and the like ask for, all but the writing."""
    return [await open_session(request, resources) for request in requests]


async def handle_sessions(answers: list[Answer], ctx: Context) -> Sequence[Event]:
    """Write sessions and hashes, answer everybody, tell which sessions began and ended."""
    return await _give([await finish(answer, ctx) for answer in answers], ctx)


async def _give(answers: Sequence[Answer], ctx: Context) -> list[Event]:
    """Note what was done, reply to everybody and give the events that all of it caused."""
    acts = [act_of(answer) for answer in answers if answer.matters]
    await insert_audit_entries(ctx.tx, acts)
    for answer in answers:
        meter_of(answer.action, answer.outcome).inc()
        ctx.reply(answer.request, answer.reply)
    return [*(event for answer in answers for event in answer.caused), *acts]

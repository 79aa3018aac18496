"""Platforms and accounts: can we push, and for whom; pause and resume a lane or an account's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from infra.storage.pauses import REASON_LENGTH
from infra.storage.platform_account_lists import (
    AccountCursor,
    ListedAccount,
    ListedAccounts,
    list_own_accounts,
    list_platform_accounts,
)
from infra.storage.users import find_user_id
from schemas.platform_accounts import AccountState
from schemas.queues import PauseSummary
from schemas.types import PLATFORMS
from workers.ops.event_views.list_query import ListQuery, read_list_query
from workers.ops.page import Page, SeeOther, is_local_path
from workers.ops.pause_acts import MIN_REASON, UNPROCESSABLE, Refusal, pause, resume
from workers.ops.platform_rows import build_lede, build_platform_rows
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sampler

PATH = "/platforms"
PER_PAGE = 25
STATES: tuple[AccountState, ...] = get_args(AccountState)
OWNER_RULE = "No account has this e-mail address or id."
NO_ACCOUNTS = ListedAccounts((), None)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A line of the list: the account, and the pause that holds up its lane."""

    account: ListedAccount
    pause: PauseSummary | None

    @property
    def target(self) -> Mapping[str, str]:
        """What a form names to pause it."""
        user_id = str(self.account.user_id)
        return {"kind": "account", "name": self.account.platform, "account": user_id}


async def show(request: ConsoleRequest) -> Page:
    """Show the page; 422 with what is wrong in the filter."""
    return await _build_page(request, request.query)


async def post_pause(request: ConsoleRequest) -> Page | SeeOther:
    """Pause a platform or an account; a pause that exists stays as it is."""
    return await _answer(request, await pause(request))


async def post_resume(request: ConsoleRequest) -> Page | SeeOther:
    """Resume a platform or an account."""
    return await _answer(request, await resume(request))


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    values: dict[str, str] = {}
    for row in build_platform_rows(sampler.history):
        key = f"platform.{row.name}"
        values |= {f"{key}.{column}": text for column, text in row.cells.items()}
        values |= {f"{key}.state": row.word, f"{key}.state.icon": row.icon}
        values |= {f"{key}.breaker": row.breaker.word, f"{key}.breaker.icon": row.breaker.icon}
    return values


async def _answer(request: ConsoleRequest, refusal: Refusal | None) -> Page | SeeOther:
    """Go back to the list as it was; with a refusal show it and the form as it was sent."""
    here = request.form.get("here", "")
    here = here if is_local_path(here) and urlsplit(here).path == PATH else PATH
    if refusal is None:
        return SeeOther(here)
    return await _build_page(request, dict(parse_qsl(urlsplit(here).query)), refusal)


async def _build_page(
    request: ConsoleRequest, query: Mapping[str, str], refusal: Refusal | None = None
) -> Page:
    sampler = request.state.sampler
    sample, rows = sampler.current, build_platform_rows(sampler.history)
    asked = read_list_query(PATH, query, ("owner", "platform", "state"))
    errors = dict(asked.errors)
    owner = await _find_owner(request, asked.text("owner"))
    if asked.text("owner") is not None and owner is None and sample.database:
        errors["owner"] = OWNER_RULE
    found = None
    if sample.database:
        found = NO_ACCOUNTS if errors else await _list_accounts(request, asked, owner, query)
    context = {
        "lede": build_lede(rows),
        "rows": rows,
        "span": max((row.calls.seconds for row in rows if row.calls is not None), default=None),
        "asked": asked,
        "errors": errors,
        "accounts": None if found is None else _join_pauses(found.rows, sample.pauses),
        "others": [one for one in sample.pauses if one.kind == "account"],
        "platforms": PLATFORMS,
        "states": STATES,
        "next": "" if found is None or found.next is None else _link(asked, found.next),
        "first": asked.link() if query.get("after") else "",
        "refusal": refusal,
        "least": MIN_REASON,
        "most": REASON_LENGTH,
        "here": asked.link(after=query["after"]) if query.get("after") else asked.link(),
    }
    status = UNPROCESSABLE if errors else 200
    if refusal is not None:
        status = refusal.status
    return Page("Platforms and accounts", "platforms.html", context, status)


async def _find_owner(request: ConsoleRequest, typed: str | None) -> UUID | None:
    """Find a user by e-mail address or id; an id is taken as it is."""
    if typed is None:
        return None
    try:
        return UUID(typed)
    except ValueError:
        return await request.read_or_none(find_user_id, typed.lower())


async def _list_accounts(
    request: ConsoleRequest, asked: ListQuery, owner: UUID | None, query: Mapping[str, str]
) -> ListedAccounts | None:
    """List what the filter asks for; None while Postgres does not answer."""
    platform = next((one for one in PLATFORMS if one == asked.text("platform")), None)
    state = next((one for one in STATES if one == asked.text("state")), None)
    if owner is None:
        after = _read_cursor(query.get("after", ""))
        return await request.read_or_none(list_platform_accounts, platform, state, after, PER_PAGE)
    found = await request.read_or_none(list_own_accounts, owner)
    if found is None:
        return None
    kept = [
        row for row in found.rows if platform in (None, row.platform) and state in (None, row.state)
    ]
    return ListedAccounts(kept, None)


def _join_pauses(
    accounts: Sequence[ListedAccount], pauses: Sequence[PauseSummary]
) -> list[AccountRow]:
    held = {(one.name, one.account): one for one in pauses if one.kind == "account"}
    return [AccountRow(one, held.get((one.platform, str(one.user_id)))) for one in accounts]


def _link(asked: ListQuery, place: AccountCursor) -> str:
    return asked.link(after=f"{place.user_id.hex}-{place.platform}")


def _read_cursor(written: str) -> AccountCursor | None:
    name, _, platform = written.partition("-")
    try:
        return AccountCursor(UUID(hex=name), platform) if platform in PLATFORMS else None
    except ValueError:
        return None

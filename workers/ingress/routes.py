"""Every route of the ingress, once: where it is, who answers, which scope it needs."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from schemas.accounts import Login, Refresh, Registration, RoleDraft, Tokens, User, UserEntry
from schemas.api_keys import ApiKeyDraft, ApiKeyEntry, NewApiKey
from schemas.audit import Act
from schemas.campaigns import Campaign, CampaignDraft, CampaignPatch
from schemas.dead_letters import DeadLetter, Handled, LetterEntry, LetterPatch, Mended
from schemas.metrics import DailyMetrics
from schemas.operations import Operation
from schemas.platforms import AuthorizeUrl, Connection, PlatformAccount
from schemas.sessions import LiveSession, PasswordChange
from workers.ingress import (
    api_keys,
    audit,
    auth,
    campaigns,
    dead,
    documents,
    events,
    operations,
    platforms,
    sessions,
    users,
    webhooks,
    wishes,
)
from workers.ingress.audit import AuditQuery
from workers.ingress.campaigns import CampaignQuery, MetricsQuery
from workers.ingress.cloudevents import BATCH, STRUCTURED, UPSTREAM
from workers.ingress.dead import DeadQuery, DiscardQuery, HowQuery, ReplayQuery
from workers.ingress.envelope import JSON
from workers.ingress.limits import (
    API,
    EVENTS,
    FREE,
    LOGIN,
    PASSWORD,
    REFRESH,
    REGISTRATION,
    WEBHOOKS,
    Limit,
)
from workers.ingress.paging import PageQuery
from workers.ingress.route import ANYONE, Answer, Handler, Route
from workers.ingress.users import UserQuery
from workers.ingress.verdicts import Verdict
from workers.ingress.wishes import Accepted

PROBES = ("/healthz", "/readyz", "/metrics")

READ, WRITE = "campaigns:read", "campaigns:write"

AUTH = "/api/v1/auth"
SESSIONS = f"{AUTH}/sessions"
CAMPAIGNS = "/api/v1/campaigns"
CAMPAIGN = f"{CAMPAIGNS}/{{id}}"
API_KEYS = "/api/v1/api-keys"
API_KEY = f"{API_KEYS}/{{id}}"
USERS = "/api/v1/users"
USER = f"{USERS}/{{id}}"
DEAD = "/api/v1/dead"
DEAD_QUEUE = f"{DEAD}/{{queue}}"
DEAD_LETTER = f"{DEAD_QUEUE}/{{id}}"
PLATFORMS = "/api/v1/platforms"
PLATFORM = f"{PLATFORMS}/{{platform}}"

OBJECT = dict[str, Any]
TOKENS = (Answer(200, Tokens),)
VERDICTS = tuple(Answer(status, list[Verdict]) for status in (202, 207))
MEDIA = {STRUCTURED: UPSTREAM, BATCH: list[UPSTREAM], JSON: OBJECT}


def _login(
    path: str, handler: Handler, body: type, answers: tuple[Answer, ...], limit: Limit
) -> Route:
    path, media = f"{AUTH}{path}", {JSON: body}
    return Route("POST", path, handler, ANYONE, answers, media, errors=(401,), limit=limit)


def _wish(
    method: str, path: str, handler: Handler, media: Mapping[str, Any] | None = None
) -> Route:
    answers = (Answer(202, Accepted), Answer(200, Campaign))
    headers = ("If-Match", "Idempotency-Key", "Prefer")
    return Route(method, path, handler, WRITE, answers, media or {}, headers=headers, limit=API)


def _list(path: str, handler: Handler, scope: str, entry: type, query: type[PageQuery]) -> Route:
    answers = (Answer(200, list[entry], paged=True),)  # type: ignore[valid-type]
    return Route("GET", path, handler, scope, answers, query=query, limit=API)


def _one(path: str, handler: Handler, scope: str, data: type) -> Route:
    return Route("GET", path, handler, scope, (Answer(200, data),), limit=API)


def _edit(path: str, handler: Handler, scope: str, body: type, data: type) -> Route:
    answers, media = (Answer(200, data),), {JSON: body}
    return Route("PATCH", path, handler, scope, answers, media, errors=(409,), limit=API)


def _deed(path: str, handler: Handler, query: type[BaseModel] | None = None) -> Route:
    answers = (Answer(200, Handled),)
    return Route("POST", path, handler, "dead", answers, query=query, errors=(409,), limit=API)


def _document(path: str, handler: Handler) -> Route:
    answers = (Answer(200, OBJECT, enveloped=False),)
    return Route("GET", path, handler, ANYONE, answers, limit=FREE)


ROUTES: tuple[Route, ...] = (
    _login("/register", auth.register, Registration, (Answer(201, Tokens),), REGISTRATION),
    _login("/login", auth.login, Login, TOKENS, LOGIN),
    _login("/refresh", auth.refresh, Refresh, TOKENS, REFRESH),
    _login("/logout", auth.logout, Refresh, (Answer(204),), API),
    Route("POST", f"{AUTH}/validate", auth.validate, "account", (Answer(200, OBJECT),), limit=API),
    _one(f"{AUTH}/me", auth.me, "account", User),
    Route(
        "GET",
        SESSIONS,
        sessions.get_sessions,
        "account",
        (Answer(200, list[LiveSession]),),
        limit=API,
    ),
    Route("DELETE", SESSIONS, sessions.delete_sessions, "account", (Answer(204),), limit=API),
    Route(
        "DELETE",
        f"{SESSIONS}/{{id}}",
        sessions.delete_session,
        "account",
        (Answer(204),),
        limit=API,
    ),
    Route(
        "POST",
        f"{AUTH}/password",
        sessions.post_password,
        "account",
        (Answer(204),),
        {JSON: PasswordChange},
        limit=PASSWORD,
    ),
    Route(
        "POST",
        CAMPAIGNS,
        wishes.post_campaign,
        WRITE,
        (Answer(202, Accepted), Answer(201, Campaign)),
        {JSON: CampaignDraft},
        headers=("Idempotency-Key", "Prefer"),
        limit=API,
    ),
    _list(CAMPAIGNS, campaigns.get_campaigns, READ, Campaign, CampaignQuery),
    Route(
        "GET",
        CAMPAIGN,
        campaigns.get_campaign,
        READ,
        (Answer(200, Campaign), Answer(304)),
        headers=("If-None-Match",),
        limit=API,
    ),
    _wish("PATCH", CAMPAIGN, wishes.patch_campaign, {JSON: CampaignPatch}),
    _wish("DELETE", CAMPAIGN, wishes.delete_campaign),
    _wish("POST", f"{CAMPAIGN}/pause", wishes.pause_campaign),
    _wish("POST", f"{CAMPAIGN}/resume", wishes.resume_campaign),
    _wish("POST", f"{CAMPAIGN}/sync", wishes.sync_campaign),
    Route(
        "GET",
        f"{CAMPAIGN}/metrics",
        campaigns.get_metrics,
        READ,
        (Answer(200, list[DailyMetrics]),),
        query=MetricsQuery,
        limit=API,
    ),
    _one("/api/v1/operations/{id}", operations.get_operation, READ, Operation),
    Route(
        "POST",
        "/api/v1/events",
        events.post_events,
        "events:publish",
        VERDICTS,
        MEDIA,
        limit=EVENTS,
    ),
    Route(
        "POST",
        API_KEYS,
        api_keys.post_api_key,
        "keys",
        (Answer(201, NewApiKey),),
        {JSON: ApiKeyDraft},
        limit=API,
    ),
    _list(API_KEYS, api_keys.get_api_keys, "keys", ApiKeyEntry, PageQuery),
    _one(API_KEY, api_keys.get_api_key, "keys", ApiKeyEntry),
    Route("DELETE", API_KEY, api_keys.delete_api_key, "keys", (Answer(204),), limit=API),
    _list(USERS, users.get_users, "users", UserEntry, UserQuery),
    _one(USER, users.get_user, "users", UserEntry),
    _edit(USER, users.patch_user, "users", RoleDraft, UserEntry),
    _list("/api/v1/audit", audit.get_audit, "audit", Act, AuditQuery),
    _list(DEAD, dead.get_dead_letters, "dead", LetterEntry, DeadQuery),
    _list(DEAD_QUEUE, dead.get_dead_queue, "dead", LetterEntry, DeadQuery),
    _one(DEAD_LETTER, dead.get_dead_letter, "dead", DeadLetter),
    _edit(DEAD_LETTER, dead.patch_dead_letter, "dead", LetterPatch, Mended),
    _deed(f"{DEAD_QUEUE}/replay", dead.replay_dead_queue, ReplayQuery),
    _deed(f"{DEAD_QUEUE}/discard", dead.discard_dead_queue, DiscardQuery),
    _deed(f"{DEAD_LETTER}/replay", dead.replay_dead_letter, HowQuery),
    _deed(f"{DEAD_LETTER}/discard", dead.discard_dead_letter),
    Route(
        "GET",
        PLATFORMS,
        platforms.get_platforms,
        "account",
        (Answer(200, list[PlatformAccount]),),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/connect",
        platforms.connect_platform,
        "platforms",
        (Answer(302), Answer(200, AuthorizeUrl)),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/callback",
        platforms.finish_connecting,
        ANYONE,
        (Answer(200, Connection),),
        query=platforms.Returned,
        errors=(401, 502),
        limit=API,
    ),
    Route(
        "DELETE",
        PLATFORM,
        platforms.disconnect_platform,
        "platforms",
        (Answer(202, Connection), Answer(204)),
        limit=API,
    ),
    Route(
        "POST",
        "/webhooks/{source}",
        webhooks.post_webhook,
        ANYONE,
        (Answer(200, dict[str, bool], enveloped=False),),
        {JSON: OBJECT},
        errors=(401,),
        limit=WEBHOOKS,
    ),
    _document("/.well-known/jwks.json", documents.get_jwks),
    _document("/openapi.json", documents.get_openapi),
    _document("/asyncapi.json", documents.get_asyncapi),
)

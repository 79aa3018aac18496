"""Every route of the ingress, once: where it is, who answers, which scope it needs."""

from typing import Any

from schemas.accounts import Login, Refresh, Registration, RoleDraft, Tokens, User, UserEntry
from schemas.api_keys import ApiKeyDraft, ApiKeyEntry, NewApiKey
from schemas.audit import Act
from schemas.campaigns import Campaign, CampaignDraft, CampaignPatch
from schemas.dead_letters import DeadLetter, LetterEntry, LetterPatch, Mended
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
    kinds,
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
    LOGIN,
    PASSWORD,
    REFRESH,
    REGISTRATION,
    WEBHOOKS,
)
from workers.ingress.paging import PageQuery
from workers.ingress.route import ANYONE, Answer, Route
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
REGISTERED = (Answer(201, Tokens),)
TOKENS = (Answer(200, Tokens),)
VERDICTS = tuple(Answer(status, list[Verdict]) for status in (202, 207))
MEDIA = {STRUCTURED: UPSTREAM, BATCH: list[UPSTREAM], JSON: OBJECT}

ROUTES: tuple[Route, ...] = (
    kinds.login(
        f"{AUTH}/register",
        auth.register,
        Registration,
        REGISTERED,
        REGISTRATION,
        ("Idempotency-Key",),
        (409,),
    ),
    kinds.login(f"{AUTH}/login", auth.login, Login, TOKENS, LOGIN),
    kinds.login(f"{AUTH}/refresh", auth.refresh, Refresh, TOKENS, REFRESH),
    kinds.login(f"{AUTH}/logout", auth.logout, Refresh, (Answer(204),), API),
    Route("POST", f"{AUTH}/validate", auth.validate, "account", (Answer(200, OBJECT),), limit=API),
    kinds.one(f"{AUTH}/me", auth.me, "account", User),
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
    kinds.page(CAMPAIGNS, campaigns.get_campaigns, READ, Campaign, CampaignQuery),
    Route(
        "GET",
        CAMPAIGN,
        campaigns.get_campaign,
        READ,
        (Answer(200, Campaign), Answer(304)),
        headers=("If-Match", "If-None-Match"),
        limit=API,
    ),
    kinds.wish("PATCH", CAMPAIGN, wishes.patch_campaign, {JSON: CampaignPatch}),
    kinds.wish("DELETE", CAMPAIGN, wishes.delete_campaign),
    kinds.wish("POST", f"{CAMPAIGN}/pause", wishes.pause_campaign),
    kinds.wish("POST", f"{CAMPAIGN}/resume", wishes.resume_campaign),
    kinds.wish("POST", f"{CAMPAIGN}/sync", wishes.sync_campaign),
    Route(
        "GET",
        f"{CAMPAIGN}/metrics",
        campaigns.get_metrics,
        READ,
        (Answer(200, list[DailyMetrics]),),
        query=MetricsQuery,
        limit=API,
    ),
    kinds.one("/api/v1/operations/{id}", operations.get_operation, READ, Operation),
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
    kinds.page(API_KEYS, api_keys.get_api_keys, "keys", ApiKeyEntry, PageQuery),
    kinds.one(API_KEY, api_keys.get_api_key, "keys", ApiKeyEntry),
    Route("DELETE", API_KEY, api_keys.delete_api_key, "keys", (Answer(204),), limit=API),
    kinds.page(USERS, users.get_users, "users", UserEntry, UserQuery),
    kinds.one(USER, users.get_user, "users", UserEntry),
    kinds.edit(USER, users.patch_user, "users", RoleDraft, UserEntry),
    kinds.page("/api/v1/audit", audit.get_audit, "audit", Act, AuditQuery),
    kinds.page(DEAD, dead.get_dead_letters, "dead", LetterEntry, DeadQuery),
    kinds.page(DEAD_QUEUE, dead.get_dead_queue, "dead", LetterEntry, DeadQuery),
    kinds.one(DEAD_LETTER, dead.get_dead_letter, "dead", DeadLetter),
    kinds.edit(DEAD_LETTER, dead.patch_dead_letter, "dead", LetterPatch, Mended),
    kinds.deed(f"{DEAD_QUEUE}/replay", dead.replay_dead_queue, ReplayQuery),
    kinds.deed(f"{DEAD_QUEUE}/discard", dead.discard_dead_queue, DiscardQuery),
    kinds.deed(f"{DEAD_LETTER}/replay", dead.replay_dead_letter, HowQuery),
    kinds.deed(f"{DEAD_LETTER}/discard", dead.discard_dead_letter),
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
    kinds.document("/.well-known/jwks.json", documents.get_jwks),
    kinds.document("/openapi.json", documents.get_openapi),
    kinds.document("/asyncapi.json", documents.get_asyncapi),
)

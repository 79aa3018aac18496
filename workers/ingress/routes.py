"""Every route of the ingress, once: where it is, who answers, which scope it needs."""

from typing import Any

from schemas.api_keys import ApiKeyDraft, ApiKeyEntry, NewApiKey
from schemas.audit import Act
from schemas.campaigns import Campaign, CampaignDraft, CampaignPatch
from schemas.dead_letters import DeadLetter, LetterEntry, LetterPatch, Mended
from schemas.metrics import DailyMetrics
from schemas.operations import Operation
from schemas.platform_accounts import AuthorizeUrl, Connection, PlatformAccount
from schemas.sessions import LiveSession, PasswordChange
from schemas.users import Login, Refresh, Registration, RoleDraft, Tokens, User, UserEntry
from workers.ingress.api import (
    api_keys,
    audit,
    auth,
    campaign_commands,
    campaigns,
    dead_letters,
    events,
    operations,
    platform_accounts,
    sessions,
    users,
    webhooks,
)
from workers.ingress.api.audit import AuditQuery
from workers.ingress.api.campaign_commands import OperationAccepted
from workers.ingress.api.campaigns import CampaignQuery, MetricsQuery
from workers.ingress.api.dead_letters import (
    DeadLetterQuery,
    DiscardQueueQuery,
    ReplayOneQuery,
    ReplayQueueQuery,
)
from workers.ingress.api.event_results import EventResult
from workers.ingress.api.users import UserQuery
from workers.ingress.docs import routes
from workers.ingress.http import route_templates
from workers.ingress.http.cloudevents import BATCH, STRUCTURED, UPSTREAM
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.rate_limits import (
    API,
    EVENTS,
    LOGIN,
    PASSWORD,
    REFRESH,
    REGISTRATION,
    WEBHOOKS,
)
from workers.ingress.http.responses import JSON
from workers.ingress.http.route import ANYONE, Answer, Route

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
VERDICTS = tuple(Answer(status, list[EventResult]) for status in (202, 207))
MEDIA = {STRUCTURED: UPSTREAM, BATCH: list[UPSTREAM], JSON: OBJECT}

ROUTES: tuple[Route, ...] = (
    route_templates.login(
        f"{AUTH}/register",
        auth.register,
        Registration,
        REGISTERED,
        REGISTRATION,
        ("Idempotency-Key",),
        (409,),
    ),
    route_templates.login(f"{AUTH}/login", auth.login, Login, TOKENS, LOGIN),
    route_templates.login(f"{AUTH}/refresh", auth.refresh, Refresh, TOKENS, REFRESH),
    route_templates.login(f"{AUTH}/logout", auth.logout, Refresh, (Answer(204),), API),
    Route("POST", f"{AUTH}/validate", auth.validate, "account", (Answer(200, OBJECT),), limit=API),
    route_templates.one(f"{AUTH}/me", auth.me, "account", User),
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
        campaign_commands.post_campaign,
        WRITE,
        (Answer(202, OperationAccepted), Answer(201, Campaign)),
        {JSON: CampaignDraft},
        headers=("Idempotency-Key", "Prefer"),
        limit=API,
    ),
    route_templates.page(CAMPAIGNS, campaigns.get_campaigns, READ, Campaign, CampaignQuery),
    Route(
        "GET",
        CAMPAIGN,
        campaigns.get_campaign,
        READ,
        (Answer(200, Campaign), Answer(304)),
        headers=("If-Match", "If-None-Match"),
        limit=API,
    ),
    route_templates.wish(
        "PATCH", CAMPAIGN, campaign_commands.patch_campaign, {JSON: CampaignPatch}
    ),
    route_templates.wish("DELETE", CAMPAIGN, campaign_commands.delete_campaign),
    route_templates.wish("POST", f"{CAMPAIGN}/pause", campaign_commands.pause_campaign),
    route_templates.wish("POST", f"{CAMPAIGN}/resume", campaign_commands.resume_campaign),
    route_templates.wish("POST", f"{CAMPAIGN}/sync", campaign_commands.sync_campaign),
    Route(
        "GET",
        f"{CAMPAIGN}/metrics",
        campaigns.get_metrics,
        READ,
        (Answer(200, list[DailyMetrics]),),
        query=MetricsQuery,
        limit=API,
    ),
    route_templates.one("/api/v1/operations/{id}", operations.get_operation, READ, Operation),
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
    route_templates.page(API_KEYS, api_keys.get_api_keys, "keys", ApiKeyEntry, PageQuery),
    route_templates.one(API_KEY, api_keys.get_api_key, "keys", ApiKeyEntry),
    Route("DELETE", API_KEY, api_keys.delete_api_key, "keys", (Answer(204),), limit=API),
    route_templates.page(USERS, users.get_users, "users", UserEntry, UserQuery),
    route_templates.one(USER, users.get_user, "users", UserEntry),
    route_templates.edit(USER, users.patch_user, "users", RoleDraft, UserEntry),
    route_templates.page("/api/v1/audit", audit.get_audit, "audit", Act, AuditQuery),
    route_templates.page(DEAD, dead_letters.get_dead_letters, "dead", LetterEntry, DeadLetterQuery),
    route_templates.page(
        DEAD_QUEUE, dead_letters.get_dead_queue, "dead", LetterEntry, DeadLetterQuery
    ),
    route_templates.one(DEAD_LETTER, dead_letters.get_dead_letter, "dead", DeadLetter),
    route_templates.edit(DEAD_LETTER, dead_letters.patch_dead_letter, "dead", LetterPatch, Mended),
    route_templates.deed(f"{DEAD_QUEUE}/replay", dead_letters.replay_dead_queue, ReplayQueueQuery),
    route_templates.deed(
        f"{DEAD_QUEUE}/discard", dead_letters.discard_dead_queue, DiscardQueueQuery
    ),
    route_templates.deed(f"{DEAD_LETTER}/replay", dead_letters.replay_dead_letter, ReplayOneQuery),
    route_templates.deed(f"{DEAD_LETTER}/discard", dead_letters.discard_dead_letter),
    Route(
        "GET",
        PLATFORMS,
        platform_accounts.get_platforms,
        "account",
        (Answer(200, list[PlatformAccount]),),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/connect",
        platform_accounts.connect_platform,
        "platforms",
        (Answer(302), Answer(200, AuthorizeUrl)),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/callback",
        platform_accounts.finish_connecting,
        ANYONE,
        (Answer(200, Connection),),
        query=platform_accounts.CallbackQuery,
        errors=(401, 502),
        limit=API,
    ),
    Route(
        "DELETE",
        PLATFORM,
        platform_accounts.disconnect_platform,
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
    route_templates.document("/.well-known/jwks.json", routes.get_jwks),
    route_templates.document("/openapi.json", routes.get_openapi),
    route_templates.document("/asyncapi.json", routes.get_asyncapi),
)

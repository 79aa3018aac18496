"""The route table of the ingress: path, handler, scope and rate limit of every route."""

from typing import Any

from infra.health import TARGETS_PATH
from infra.web.rate_limits import (
    API,
    EVENTS,
    LOGIN,
    PASSWORD,
    REFRESH,
    REGISTRATION,
    WEBHOOKS,
)
from infra.web.responses import JSON
from schemas.api_keys import READ_EVENTS_SCOPE, ApiKeyCreate, ApiKeySummary, NewApiKey
from schemas.audit import AuditEntry
from schemas.campaigns import Campaign, CampaignCreate, CampaignUpdate
from schemas.dead_letters import (
    DeadLetterDetail,
    DeadLetterSummary,
    DeadLetterUpdate,
    DeadLetterValidation,
)
from schemas.events import EventSearchResult
from schemas.metrics import DailyMetrics
from schemas.operations import Operation
from schemas.platform_accounts import AuthorizeUrl, PlatformAccount, PlatformConnection
from schemas.queues import (
    PauseRequest,
    PlatformPauseRequest,
    PlatformResumeRequest,
    QueueOverview,
)
from schemas.sessions import ActiveSession, PasswordChange
from schemas.users import Login, Refresh, Registration, RoleUpdate, SessionTokens, User, UserSummary
from workers.ingress import route_templates
from workers.ingress.api import (
    api_keys,
    audit,
    auth,
    campaign_commands,
    campaigns,
    dead_letters,
    event_search,
    events,
    operations,
    platform_accounts,
    platform_callback,
    queues,
    sessions,
    users,
    webhooks,
)
from workers.ingress.api.audit import AuditQuery
from workers.ingress.api.campaign_operations import OperationAccepted
from workers.ingress.api.campaigns import CampaignQuery, MetricsQuery
from workers.ingress.api.cloudevents import BATCH, STRUCTURED, UPSTREAM_EVENT
from workers.ingress.api.dead_letter_queries import (
    DeadLetterQuery,
    DiscardQueueQuery,
    ReplayOneQuery,
    ReplayQueueQuery,
)
from workers.ingress.api.event_results import EventResult
from workers.ingress.api.event_search import EventSearchQuery
from workers.ingress.api.users import UserQuery
from workers.ingress.docs import routes
from workers.ingress.http.pagination import PageQuery
from workers.ingress.route import PUBLIC, Route, RouteResponse

PROBES = ("/healthz", "/readyz", "/metrics", TARGETS_PATH)

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
QUEUES = "/api/v1/queues"
QUEUE = f"{QUEUES}/{{queue}}"
PLATFORMS = "/api/v1/platforms"
PLATFORM = f"{PLATFORMS}/{{platform}}"

OBJECT = dict[str, Any]
REGISTERED = (RouteResponse(201, SessionTokens),)
TOKENS = (RouteResponse(200, SessionTokens),)
VERDICTS = tuple(RouteResponse(status, list[EventResult]) for status in (202, 207))
MEDIA = {STRUCTURED: UPSTREAM_EVENT, BATCH: list[UPSTREAM_EVENT], JSON: OBJECT}

ROUTES: tuple[Route, ...] = (
    route_templates.credentials_route(
        f"{AUTH}/register",
        auth.register,
        Registration,
        REGISTERED,
        REGISTRATION,
        ("Idempotency-Key",),
        (409,),
    ),
    route_templates.credentials_route(f"{AUTH}/login", auth.login, Login, TOKENS, LOGIN),
    route_templates.credentials_route(f"{AUTH}/refresh", auth.refresh, Refresh, TOKENS, REFRESH),
    route_templates.credentials_route(
        f"{AUTH}/logout", auth.logout, Refresh, (RouteResponse(204),), API
    ),
    Route(
        "POST",
        f"{AUTH}/validate",
        auth.validate,
        "account",
        (RouteResponse(200, OBJECT),),
        limit=API,
    ),
    route_templates.detail_route(f"{AUTH}/me", auth.me, "account", User),
    Route(
        "GET",
        SESSIONS,
        sessions.get_sessions,
        "account",
        (RouteResponse(200, list[ActiveSession]),),
        limit=API,
    ),
    Route(
        "DELETE", SESSIONS, sessions.delete_sessions, "account", (RouteResponse(204),), limit=API
    ),
    Route(
        "DELETE",
        f"{SESSIONS}/{{id}}",
        sessions.delete_session,
        "account",
        (RouteResponse(204),),
        limit=API,
    ),
    Route(
        "POST",
        f"{AUTH}/password",
        sessions.post_password,
        "account",
        (RouteResponse(204),),
        {JSON: PasswordChange},
        limit=PASSWORD,
    ),
    Route(
        "POST",
        CAMPAIGNS,
        campaign_commands.post_campaign,
        WRITE,
        (RouteResponse(202, OperationAccepted), RouteResponse(201, Campaign)),
        {JSON: CampaignCreate},
        headers=("Idempotency-Key", "Prefer"),
        limit=API,
    ),
    route_templates.list_route(CAMPAIGNS, campaigns.get_campaigns, READ, Campaign, CampaignQuery),
    Route(
        "GET",
        CAMPAIGN,
        campaigns.get_campaign,
        READ,
        (RouteResponse(200, Campaign), RouteResponse(304)),
        headers=("If-Match", "If-None-Match"),
        limit=API,
    ),
    route_templates.command_route(
        "PATCH", CAMPAIGN, campaign_commands.patch_campaign, {JSON: CampaignUpdate}
    ),
    route_templates.command_route("DELETE", CAMPAIGN, campaign_commands.delete_campaign),
    route_templates.command_route("POST", f"{CAMPAIGN}/pause", campaign_commands.pause_campaign),
    route_templates.command_route("POST", f"{CAMPAIGN}/resume", campaign_commands.resume_campaign),
    route_templates.command_route("POST", f"{CAMPAIGN}/sync", campaign_commands.sync_campaign),
    Route(
        "GET",
        f"{CAMPAIGN}/metrics",
        campaigns.get_metrics,
        READ,
        (RouteResponse(200, list[DailyMetrics]),),
        query=MetricsQuery,
        limit=API,
    ),
    route_templates.detail_route(
        "/api/v1/operations/{id}", operations.get_operation, READ, Operation
    ),
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
        "GET",
        "/api/v1/events",
        event_search.get_events,
        READ_EVENTS_SCOPE,
        (RouteResponse(200, EventSearchResult),),
        query=EventSearchQuery,
        limit=API,
    ),
    Route(
        "POST",
        API_KEYS,
        api_keys.post_api_key,
        "keys",
        (RouteResponse(201, NewApiKey),),
        {JSON: ApiKeyCreate},
        limit=API,
    ),
    route_templates.list_route(API_KEYS, api_keys.get_api_keys, "keys", ApiKeySummary, PageQuery),
    route_templates.detail_route(API_KEY, api_keys.get_api_key, "keys", ApiKeySummary),
    Route("DELETE", API_KEY, api_keys.delete_api_key, "keys", (RouteResponse(204),), limit=API),
    route_templates.list_route(USERS, users.get_users, "users", UserSummary, UserQuery),
    route_templates.detail_route(USER, users.get_user, "users", UserSummary),
    route_templates.update_route(USER, users.patch_user, "users", RoleUpdate, UserSummary),
    route_templates.list_route("/api/v1/audit", audit.get_audit, "audit", AuditEntry, AuditQuery),
    route_templates.list_route(
        DEAD, dead_letters.get_dead_letters, "dead", DeadLetterSummary, DeadLetterQuery
    ),
    route_templates.list_route(
        DEAD_QUEUE, dead_letters.get_dead_queue, "dead", DeadLetterSummary, DeadLetterQuery
    ),
    route_templates.detail_route(
        DEAD_LETTER, dead_letters.get_dead_letter, "dead", DeadLetterDetail
    ),
    route_templates.update_route(
        DEAD_LETTER, dead_letters.patch_dead_letter, "dead", DeadLetterUpdate, DeadLetterValidation
    ),
    route_templates.action_route(
        f"{DEAD_QUEUE}/replay", dead_letters.replay_dead_queue, ReplayQueueQuery
    ),
    route_templates.action_route(
        f"{DEAD_QUEUE}/discard", dead_letters.discard_dead_queue, DiscardQueueQuery
    ),
    route_templates.action_route(
        f"{DEAD_LETTER}/replay", dead_letters.replay_dead_letter, ReplayOneQuery
    ),
    route_templates.action_route(f"{DEAD_LETTER}/discard", dead_letters.discard_dead_letter),
    Route(
        "GET",
        PLATFORMS,
        platform_accounts.get_platforms,
        "account",
        (RouteResponse(200, list[PlatformAccount]),),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/connect",
        platform_accounts.connect_platform,
        "platforms",
        (RouteResponse(302), RouteResponse(200, AuthorizeUrl)),
        limit=API,
    ),
    Route(
        "GET",
        f"{PLATFORM}/callback",
        platform_callback.finish_connecting,
        PUBLIC,
        (RouteResponse(200, PlatformConnection),),
        query=platform_callback.CallbackQuery,
        errors=(401, 502),
        limit=API,
    ),
    Route(
        "DELETE",
        PLATFORM,
        platform_accounts.disconnect_platform,
        "platforms",
        (RouteResponse(202, PlatformConnection), RouteResponse(204)),
        limit=API,
    ),
    Route(
        "GET",
        QUEUES,
        queues.get_queues,
        "queues",
        (RouteResponse(200, QueueOverview),),
        limit=API,
    ),
    route_templates.switch_route(f"{QUEUE}/pause", queues.pause_queue, PauseRequest),
    route_templates.switch_route(f"{QUEUE}/resume", queues.resume_queue),
    route_templates.switch_route(f"{PLATFORM}/pause", queues.pause_platform, PlatformPauseRequest),
    route_templates.switch_route(
        f"{PLATFORM}/resume", queues.resume_platform, PlatformResumeRequest, optional_body=True
    ),
    Route(
        "POST",
        "/webhooks/{source}",
        webhooks.post_webhook,
        PUBLIC,
        (RouteResponse(200, dict[str, bool], enveloped=False),),
        {JSON: OBJECT},
        errors=(401,),
        limit=WEBHOOKS,
    ),
    route_templates.document_route("/.well-known/jwks.json", routes.get_jwks),
    route_templates.document_route("/openapi.json", routes.get_openapi),
    route_templates.document_route("/asyncapi.json", routes.get_asyncapi),
)

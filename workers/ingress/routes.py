"""Every route of the ingress, once: where it is, who answers, who may."""

from collections.abc import Mapping
from typing import Any

from schemas.accounts import Login, Refresh, Registration, Tokens, User
from schemas.campaigns import Campaign, CampaignDraft, CampaignPatch
from schemas.metrics import DailyMetrics
from schemas.operations import Operation
from schemas.sessions import LiveSession, PasswordChange
from workers.ingress import (
    auth,
    campaigns,
    documents,
    events,
    operations,
    sessions,
    webhooks,
    wishes,
)
from workers.ingress.campaigns import CampaignQuery, MetricsQuery
from workers.ingress.cloudevents import BATCH, STRUCTURED, UPSTREAM
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
from workers.ingress.route import Answer, Handler, Route
from workers.ingress.verdicts import Verdict
from workers.ingress.who import ANYONE, PEOPLE, PUBLISHERS, READERS, WRITERS
from workers.ingress.wishes import Accepted

PROBES = ("/healthz", "/readyz", "/metrics")

AUTH = "/api/v1/auth"
SESSIONS = f"{AUTH}/sessions"
CAMPAIGNS = "/api/v1/campaigns"
CAMPAIGN = f"{CAMPAIGNS}/{{id}}"

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
    return Route(method, path, handler, WRITERS, answers, media or {}, headers=headers, limit=API)


def _document(path: str, handler: Handler) -> Route:
    answers = (Answer(200, OBJECT, enveloped=False),)
    return Route("GET", path, handler, ANYONE, answers, limit=FREE)


ROUTES: tuple[Route, ...] = (
    _login("/register", auth.register, Registration, (Answer(201, Tokens),), REGISTRATION),
    _login("/login", auth.login, Login, TOKENS, LOGIN),
    _login("/refresh", auth.refresh, Refresh, TOKENS, REFRESH),
    _login("/logout", auth.logout, Refresh, (Answer(204),), API),
    Route("POST", f"{AUTH}/validate", auth.validate, PEOPLE, (Answer(200, OBJECT),), limit=API),
    Route("GET", f"{AUTH}/me", auth.me, PEOPLE, (Answer(200, User),), limit=API),
    Route(
        "GET",
        SESSIONS,
        sessions.get_sessions,
        PEOPLE,
        (Answer(200, list[LiveSession]),),
        limit=API,
    ),
    Route("DELETE", SESSIONS, sessions.delete_sessions, PEOPLE, (Answer(204),), limit=API),
    Route(
        "DELETE", f"{SESSIONS}/{{id}}", sessions.delete_session, PEOPLE, (Answer(204),), limit=API
    ),
    Route(
        "POST",
        f"{AUTH}/password",
        sessions.post_password,
        PEOPLE,
        (Answer(204),),
        {JSON: PasswordChange},
        limit=PASSWORD,
    ),
    Route(
        "POST",
        CAMPAIGNS,
        wishes.post_campaign,
        WRITERS,
        (Answer(202, Accepted), Answer(201, Campaign)),
        {JSON: CampaignDraft},
        headers=("Idempotency-Key", "Prefer"),
        limit=API,
    ),
    Route(
        "GET",
        CAMPAIGNS,
        campaigns.get_campaigns,
        READERS,
        (Answer(200, list[Campaign], paged=True),),
        query=CampaignQuery,
        limit=API,
    ),
    Route(
        "GET",
        CAMPAIGN,
        campaigns.get_campaign,
        READERS,
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
        READERS,
        (Answer(200, list[DailyMetrics]),),
        query=MetricsQuery,
        limit=API,
    ),
    Route(
        "GET",
        "/api/v1/operations/{id}",
        operations.get_operation,
        READERS,
        (Answer(200, Operation),),
        limit=API,
    ),
    Route("POST", "/api/v1/events", events.post_events, PUBLISHERS, VERDICTS, MEDIA, limit=EVENTS),
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

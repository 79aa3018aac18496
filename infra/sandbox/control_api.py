"""The control API, for tests and the demo: fault injection, request log, webhooks on demand.

    GET    /_control                        faults, counts, webhooks of every platform; the schedule
    PUT    /_control                        the schedule: {metrics_seconds?, status_seconds?}
    PUT    /_control/{platform}             its faults from now on; absent ones are cleared
    DELETE /_control/{platform}             clears its faults
    GET    /_control/{platform}             its faults
    GET    /_control/{platform}/campaigns   ?reference=  its campaigns in a neutral format
    DELETE /_control/{platform}/campaigns   ?id=  forgets this one or, without, all
    GET    /_control/{platform}/calls       ?reference= ?campaign_id= ?action= ?outcome=
    DELETE /_control/{platform}/tokens      revokes every access token
    GET    /_control/{platform}/consents    the owners' consents, without tokens
    DELETE /_control/{platform}/consents    revokes every consent
    POST   /_control/{platform}/webhooks    sends one now, ``times`` over: {id, answers}

An invalid request is answered with 400 and ``{"error": ..}``.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from infra.http.client import HttpFailure
from infra.sandbox.app import DIALECTS, SANDBOX_APP, SandboxPlatform
from infra.sandbox.control_schemas import ScheduleUpdate, WebhookOrder
from infra.sandbox.dialect import build_metrics_webhook, build_status_webhook
from infra.sandbox.fault_injection import Faults
from infra.sandbox.webhook_sender import Webhook, WebhookSender
from schemas.webhooks import describe_errors

PLATFORM = f"/_control/{{platform:{'|'.join(DIALECTS)}}}"


def routes() -> list[web.RouteDef]:
    """List the routes."""
    return [
        web.get("/_control", show_all),
        web.put("/_control", put_pace),
        web.get(PLATFORM, show_faults),
        web.put(PLATFORM, put_faults),
        web.delete(PLATFORM, clear_faults),
        web.get(f"{PLATFORM}/campaigns", list_campaigns),
        web.delete(f"{PLATFORM}/campaigns", forget_campaigns),
        web.get(f"{PLATFORM}/calls", list_calls),
        web.delete(f"{PLATFORM}/tokens", forget_tokens),
        web.get(f"{PLATFORM}/consents", list_consents),
        web.delete(f"{PLATFORM}/consents", end_consents),
        web.post(f"{PLATFORM}/webhooks", send_webhook),
    ]


async def show_all(request: web.Request) -> web.Response:
    """Show faults, counts and schedule."""
    world = request.app[SANDBOX_APP]
    schedule = {"metrics_seconds": world.schedule.metrics_seconds}
    platforms = {name: _summary(platform) for name, platform in world.platforms.items()}
    return _json(
        {**schedule, "status_seconds": world.schedule.status_seconds, "platforms": platforms}
    )


async def put_pace(request: web.Request) -> web.Response:
    """Set how often metrics are reported and statuses changed."""
    wanted: ScheduleUpdate = await _read(request, ScheduleUpdate)
    request.app[SANDBOX_APP].schedule.set(wanted.metrics_seconds, wanted.status_seconds)
    return await show_all(request)


async def show_faults(request: web.Request) -> web.Response:
    """Show a platform's faults."""
    return _json(_get_platform(request).api.faults.model_dump())


async def put_faults(request: web.Request) -> web.Response:
    """Set a platform's faults."""
    _get_platform(request).api.faults = await _read(request, Faults)
    return await show_faults(request)


async def clear_faults(request: web.Request) -> web.Response:
    """Clear a platform's faults."""
    _get_platform(request).api.faults = Faults()
    return await show_faults(request)


async def list_campaigns(request: web.Request) -> web.Response:
    """List a platform's campaigns."""
    campaigns = _get_platform(request).api.state.campaigns.values()
    wanted = request.query.get("reference")
    return _json([c.dump() for c in campaigns if wanted in (None, c.desired.reference)])


async def forget_campaigns(request: web.Request) -> web.Response:
    """Forget one campaign or all of them, as if the platform had lost them."""
    state = _get_platform(request).api.state
    for name in [request.query["id"]] if "id" in request.query else list(state.campaigns):
        state.forget(name)
    return _json({"campaigns": len(state.campaigns)})


async def list_calls(request: web.Request) -> web.Response:
    """List the last 10,000 requests to a platform, the oldest first."""
    calls = [asdict(call) for call in _get_platform(request).api.state.calls]
    names = ("reference", "campaign_id", "action", "outcome")
    wanted = {name: request.query[name] for name in names if name in request.query}
    return _json([call for call in calls if all(call[k] == v for k, v in wanted.items())])


async def forget_tokens(request: web.Request) -> web.Response:
    """Revoke every access token issued so far."""
    state = _get_platform(request).api.state
    state.tokens.clear()
    state.consents.accesses.clear()
    return _json({})


async def list_consents(request: web.Request) -> web.Response:
    """List consents: account, scopes, number of refreshes, and whether revoked."""
    return _json([consent.shown() for consent in _get_platform(request).api.state.consents.given])


async def end_consents(request: web.Request) -> web.Response:
    """Revoke every consent, as an owner may at the platform."""
    for consent in _get_platform(request).api.state.consents.given:
        consent.revoked = True
    return await list_consents(request)


async def send_webhook(request: web.Request) -> web.Response:
    """Send a webhook now and return Adrelay's status of each attempt (0: no response)."""
    platform = _get_platform(request)
    order: WebhookOrder = await _read(request, WebhookOrder)
    webhook = _build_webhook(platform, order)
    forged = order.bad_signature
    answers = [
        await _status_of(platform.webhooks, webhook, forged=forged) for _ in range(order.times)
    ]
    return _json({"id": webhook.delivery, "answers": answers})


async def _status_of(sender: WebhookSender, webhook: Webhook, *, forged: bool) -> int:
    try:
        return (await sender.send(webhook, forged=forged)).status
    except HttpFailure:
        return 0
    except ValueError as error:
        raise _bad_request(str(error)) from None


def _build_webhook(platform: SandboxPlatform, order: WebhookOrder) -> Webhook:
    if order.kind == "raw":
        (empty,) = platform.webhooks.pack([{}], order.id)
        return Webhook(empty.delivery, order.body.encode())
    campaign = platform.api.state.campaigns.get(order.campaign_id)
    if order.kind == "status":
        status = order.status or (campaign and campaign.status) or "active"
        if campaign is not None and not order.bad_signature:
            campaign.status = status
        state = platform.api.dialect.STATES[status]
        event = build_status_webhook(order.campaign_id, state, datetime.now(UTC).isoformat())
    elif order.figures is not None:
        event = build_metrics_webhook(order.campaign_id, order.figures.figures())
    elif campaign is not None:
        event = build_metrics_webhook(order.campaign_id, campaign.figures)
    else:
        raise _bad_request("no such campaign, and no figures")
    (webhook,) = platform.webhooks.pack([event], order.id)
    return webhook


def _summary(platform: SandboxPlatform) -> dict[str, Any]:
    state, sender = platform.api.state, platform.webhooks
    return {
        "faults": platform.api.faults.model_dump(),
        "campaigns": len(state.campaigns),
        "evicted": state.evicted,
        "calls": state.counted,
        "webhooks": {**asdict(sender.stats), "waiting": sender.queue.qsize()},
    }


def _get_platform(request: web.Request) -> SandboxPlatform:
    return request.app[SANDBOX_APP].platforms[request.match_info["platform"]]


async def _read(request: web.Request, shape: type[BaseModel]) -> Any:  # noqa: ANN401 - the shape
    try:
        return shape.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise _bad_request(
            describe_errors(error.errors(include_input=False, include_url=False))
        ) from None


def _bad_request(reason: str) -> web.HTTPBadRequest:
    text = orjson.dumps({"error": reason}).decode()
    return web.HTTPBadRequest(text=text, content_type="application/json")


def _json(value: Any) -> web.Response:  # noqa: ANN401 - any JSON value
    return web.Response(body=orjson.dumps(value), content_type="application/json")

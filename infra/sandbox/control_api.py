"""The control API, for tests and the demo: faults, what was called, webhooks on demand.

    GET    /_control                        faults, counts, post of every platform; the pace
    PUT    /_control                        the pace: {metrics_seconds?, status_seconds?}
    PUT    /_control/{platform}             its faults from now on; what is absent is well
    DELETE /_control/{platform}             all is well again
    GET    /_control/{platform}             its faults
    GET    /_control/{platform}/campaigns   ?reference=  what it holds, in nobody's words
    DELETE /_control/{platform}/campaigns   ?id=  it forgets this one or, without, everything
    GET    /_control/{platform}/calls       ?reference= ?campaign_id= ?action= ?outcome=
    DELETE /_control/{platform}/tokens      every token is refused from now on
    GET    /_control/{platform}/consents    the owners who have consented, without their tokens
    DELETE /_control/{platform}/consents    they all take it back, at the platform
    POST   /_control/{platform}/webhooks    send one now, ``times`` over: {id, answers}

What is asked for wrongly is answered with 400 and ``{"error": ..}``.
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
    """List the control API."""
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
    """Show faults, counts and pace."""
    world = request.app[SANDBOX_APP]
    schedule = {"metrics_seconds": world.schedule.metrics_seconds}
    platforms = {name: _summary(platform) for name, platform in world.platforms.items()}
    return _json(
        {**schedule, "status_seconds": world.schedule.status_seconds, "platforms": platforms}
    )


async def put_pace(request: web.Request) -> web.Response:
    """Set how often figures are reported and statuses changed."""
    wanted: ScheduleUpdate = await _read(request, ScheduleUpdate)
    request.app[SANDBOX_APP].schedule.set(wanted.metrics_seconds, wanted.status_seconds)
    return await show_all(request)


async def show_faults(request: web.Request) -> web.Response:
    """Show a platform's faults."""
    return _json(_stage(request).api.faults.model_dump())


async def put_faults(request: web.Request) -> web.Response:
    """Set a platform's faults."""
    _stage(request).api.faults = await _read(request, Faults)
    return await show_faults(request)


async def clear_faults(request: web.Request) -> web.Response:
    """Make all well again."""
    _stage(request).api.faults = Faults()
    return await show_faults(request)


async def list_campaigns(request: web.Request) -> web.Response:
    """List what a platform holds."""
    held = _stage(request).api.state.campaigns.values()
    wanted = request.query.get("reference")
    return _json([c.dump() for c in held if wanted in (None, c.desired.reference)])


async def forget_campaigns(request: web.Request) -> web.Response:
    """Lose a campaign, or everything, as a platform without memory would."""
    state = _stage(request).api.state
    for name in [request.query["id"]] if "id" in request.query else list(state.campaigns):
        state.forget(name)
    return _json({"campaigns": len(state.campaigns)})


async def list_calls(request: web.Request) -> web.Response:
    """List the calls that a platform got, the oldest first, at most the last ten thousand."""
    calls = [asdict(call) for call in _stage(request).api.state.calls]
    names = ("reference", "campaign_id", "action", "outcome")
    wanted = {name: request.query[name] for name in names if name in request.query}
    return _json([call for call in calls if all(call[k] == v for k, v in wanted.items())])


async def forget_tokens(request: web.Request) -> web.Response:
    """Refuse every access token issued so far."""
    state = _stage(request).api.state
    state.tokens.clear()
    state.consents.accesses.clear()
    return _json({})


async def list_consents(request: web.Request) -> web.Response:
    """List consents: whose, for what, how often refreshed, and whether they still hold."""
    return _json([consent.shown() for consent in _stage(request).api.state.consents.given])


async def end_consents(request: web.Request) -> web.Response:
    """End every consent, as its owner may at the platform."""
    for consent in _stage(request).api.state.consents.given:
        consent.revoked = True
    return await list_consents(request)


async def send_webhook(request: web.Request) -> web.Response:
    """Send a webhook now and tell what Adrelay answered each time (0: no answer)."""
    platform = _stage(request)
    order: WebhookOrder = await _read(request, WebhookOrder)
    letter = _letter(platform, order)
    forged = order.bad_signature
    answers = [
        await _status_of(platform.webhooks, letter, forged=forged) for _ in range(order.times)
    ]
    return _json({"id": letter.delivery, "answers": answers})


async def _status_of(post: WebhookSender, letter: Webhook, *, forged: bool) -> int:
    try:
        return (await post.send(letter, forged=forged)).status
    except HttpFailure:
        return 0
    except ValueError as error:
        raise _refusal(str(error)) from None


def _letter(platform: SandboxPlatform, order: WebhookOrder) -> Webhook:
    if order.kind == "raw":
        (empty,) = platform.webhooks.pack([{}], order.id)
        return Webhook(empty.delivery, order.body.encode())
    held = platform.api.state.campaigns.get(order.campaign_id)
    if order.kind == "status":
        status = order.status or (held and held.status) or "active"
        if held is not None and not order.bad_signature:
            held.status = status
        state = platform.api.dialect.STATES[status]
        news = build_status_webhook(order.campaign_id, state, datetime.now(UTC).isoformat())
    elif order.figures is not None:
        news = build_metrics_webhook(order.campaign_id, order.figures.figures())
    elif held is not None:
        news = build_metrics_webhook(order.campaign_id, held.figures)
    else:
        raise _refusal("no such campaign, and no figures")
    (letter,) = platform.webhooks.pack([news], order.id)
    return letter


def _summary(platform: SandboxPlatform) -> dict[str, Any]:
    state, post = platform.api.state, platform.webhooks
    return {
        "faults": platform.api.faults.model_dump(),
        "campaigns": len(state.campaigns),
        "evicted": state.evicted,
        "calls": state.counted,
        "webhooks": {**asdict(post.stats), "waiting": post.queue.qsize()},
    }


def _stage(request: web.Request) -> SandboxPlatform:
    return request.app[SANDBOX_APP].platforms[request.match_info["platform"]]


async def _read(request: web.Request, shape: type[BaseModel]) -> Any:  # noqa: ANN401 - the shape
    try:
        return shape.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise _refusal(
            describe_errors(error.errors(include_input=False, include_url=False))
        ) from None


def _refusal(reason: str) -> web.HTTPBadRequest:
    text = orjson.dumps({"error": reason}).decode()
    return web.HTTPBadRequest(text=text, content_type="application/json")


def _json(value: Any) -> web.Response:  # noqa: ANN401 - any JSON value
    return web.Response(body=orjson.dumps(value), content_type="application/json")

"""The scopes of the routes: a table, compared with the router."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, get_args
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute

from infra.amqp.rpc import RpcClient
from infra.resources import Resources
from schemas.api_keys import KEY_SCOPES
from schemas.scopes import ALL_SCOPES, ROLE_SCOPES
from schemas.users import Role
from tests.workers.ingress.conftest import MakeKey, MakePerson, Person, error_of
from workers.ingress.app import build_state, make_app
from workers.ingress.route import Route
from workers.ingress.routes import PROBES, ROUTES

# A developer who adds a route decides here, a second time, who may use it; None: everybody.
TABLE: Mapping[str, str | None] = {
    "POST /api/v1/auth/register": None,
    "POST /api/v1/auth/login": None,
    "POST /api/v1/auth/refresh": None,
    "POST /api/v1/auth/logout": None,
    "POST /api/v1/auth/validate": "account",
    "GET /api/v1/auth/me": "account",
    "GET /api/v1/auth/sessions": "account",
    "DELETE /api/v1/auth/sessions": "account",
    "DELETE /api/v1/auth/sessions/{id}": "account",
    "POST /api/v1/auth/password": "account",
    "POST /api/v1/campaigns": "campaigns:write",
    "GET /api/v1/campaigns": "campaigns:read",
    "GET /api/v1/campaigns/{id}": "campaigns:read",
    "PATCH /api/v1/campaigns/{id}": "campaigns:write",
    "DELETE /api/v1/campaigns/{id}": "campaigns:write",
    "POST /api/v1/campaigns/{id}/pause": "campaigns:write",
    "POST /api/v1/campaigns/{id}/resume": "campaigns:write",
    "POST /api/v1/campaigns/{id}/sync": "campaigns:write",
    "GET /api/v1/campaigns/{id}/metrics": "campaigns:read",
    "GET /api/v1/operations/{id}": "campaigns:read",
    "POST /api/v1/events": "events:publish",
    "GET /api/v1/events": "events:read",
    "POST /api/v1/api-keys": "keys",
    "GET /api/v1/api-keys": "keys",
    "GET /api/v1/api-keys/{id}": "keys",
    "DELETE /api/v1/api-keys/{id}": "keys",
    "GET /api/v1/users": "users",
    "GET /api/v1/users/{id}": "users",
    "PATCH /api/v1/users/{id}": "users",
    "GET /api/v1/audit": "audit",
    "GET /api/v1/dead": "dead",
    "GET /api/v1/dead/{queue}": "dead",
    "POST /api/v1/dead/{queue}/replay": "dead",
    "POST /api/v1/dead/{queue}/discard": "dead",
    "GET /api/v1/dead/{queue}/{id}": "dead",
    "PATCH /api/v1/dead/{queue}/{id}": "dead",
    "POST /api/v1/dead/{queue}/{id}/replay": "dead",
    "POST /api/v1/dead/{queue}/{id}/discard": "dead",
    "GET /api/v1/queues": "queues",
    "POST /api/v1/queues/{queue}/pause": "queues",
    "POST /api/v1/queues/{queue}/resume": "queues",
    "POST /api/v1/platforms/{platform}/pause": "queues",
    "POST /api/v1/platforms/{platform}/resume": "queues",
    "GET /api/v1/platforms": "account",
    "GET /api/v1/platforms/{platform}/connect": "platforms",
    "GET /api/v1/platforms/{platform}/callback": None,
    "DELETE /api/v1/platforms/{platform}": "platforms",
    "POST /webhooks/{source}": None,
    "GET /.well-known/jwks.json": None,
    "GET /openapi.json": None,
    "GET /asyncapi.json": None,
}


@pytest.fixture
async def app(resources: Resources) -> web.Application:
    async with RpcClient(resources.settings, "test") as requester:
        return make_app(build_state(resources, requester), asyncio.Event())


async def test_every_route_of_the_router_has_its_entry(app: web.Application) -> None:
    routed = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None
        and not isinstance(route, SystemRoute)
        and route.method != "HEAD"
        and route.resource.canonical not in PROBES
    }
    assert routed == TABLE.keys()
    assert {f"{route.method} {route.path}": route.scope for route in ROUTES} == TABLE


def test_every_scope_of_the_table_can_be_held() -> None:
    assert {scope for scope in TABLE.values() if scope} <= ALL_SCOPES | {*KEY_SCOPES}


def test_every_role_may_do_what_the_one_below_it_may() -> None:
    assert ROLE_SCOPES.keys() == {*get_args(Role)}
    assert ROLE_SCOPES["viewer"] < ROLE_SCOPES["manager"] < ROLE_SCOPES["admin"] == ALL_SCOPES


GUARDED = [route for route in ROUTES if route.scope is not None]
SOME_ID = "00000000-0000-4000-8000-000000000000"


def _place(route: Route) -> str:
    """Give a place that the route's path stands for."""
    path = route.path.replace("{id}", SOME_ID).replace("{queue}", "metrics.record")
    return path.replace("{platform}", "claude")


@pytest.mark.parametrize("route", GUARDED, ids=[route.name for route in GUARDED])
async def test_a_route_rejects_a_principal_without_its_scope(
    hasty: aiohttp.ClientSession, make_person: MakePerson, make_api_key: MakeKey, route: Any
) -> None:
    ask = partial(hasty.request, route.method, _place(route), allow_redirects=False)
    error = await error_of(await ask(), 401)
    assert error["code"] == "UNAUTHENTICATED"
    for role, scopes in ROLE_SCOPES.items():
        person = await make_person(role)
        response = await ask(headers=person.headers)
        assert (response.status == 403) == (route.scope not in scopes), role
    key = await make_api_key(scopes=[s for s in KEY_SCOPES if s != route.scope])
    response = await ask(headers={"X-API-Key": key})
    assert (await error_of(response, 403))["code"] == "FORBIDDEN"
    key = await make_api_key(scopes=[route.scope])
    response = await ask(headers={"X-API-Key": key})
    assert (response.status == 403) == (route.scope not in KEY_SCOPES)


@pytest.mark.parametrize(
    "scopes", [["events"], ["events:"], ["events:publishing"], ["account"], ["keys"], [""], []]
)
async def test_a_scope_that_keys_cannot_hold_opens_nothing(
    client: aiohttp.ClientSession, make_api_key: MakeKey, scopes: list[str]
) -> None:
    key = {"X-API-Key": await make_api_key(scopes=scopes)}
    for route in GUARDED:
        await error_of(await client.request(route.method, _place(route), headers=key), 403)


async def test_an_admins_key_sees_the_admins_own_campaigns_alone(
    client: aiohttp.ClientSession, admin: Person, make_api_key: MakeKey, make_campaign: Any
) -> None:
    own, other = await make_campaign(admin.id), await make_campaign(uuid4())
    key = {"X-API-Key": await make_api_key(["campaigns:read"], owner=admin.id)}
    found = await (await client.get("/api/v1/campaigns", headers=key)).json()
    assert [campaign["id"] for campaign in found["data"]] == [str(own.id)]
    await error_of(await client.get(f"/api/v1/campaigns/{other.id}", headers=key), 404)


OWNED = [route for route in GUARDED if "{id}" in route.path and "campaigns" in (route.scope or "")]


@pytest.mark.parametrize("route", OWNED, ids=[route.name for route in OWNED])
async def test_what_is_anothers_is_404_to_people_and_keys_and_never_403(
    client: aiohttp.ClientSession,
    make_person: MakePerson,
    make_api_key: MakeKey,
    make_campaign: Any,
    route: Any,
) -> None:
    campaign = await make_campaign((await make_person("manager")).id)
    path = route.path.replace("{id}", str(campaign.id))
    stranger = await make_person("manager")
    key = await make_api_key(["campaigns:read", "campaigns:write"])
    for who in (stranger.headers, {"X-API-Key": key}):
        headers = {**who, "If-Match": '"3"'}
        body = {"name": "Mine"} if route.media else None
        response = await client.request(route.method, path, headers=headers, json=body)
        assert (await error_of(response, 404))["code"] == "NOT_FOUND"

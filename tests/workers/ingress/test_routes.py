"""The route table is the truth: the router and the documents follow it."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_urldispatcher import SystemRoute

from events import EVENT_TYPES
from infra.amqp import topology
from infra.amqp.rpc import RpcClient
from infra.ratelimit.policies import UNITS
from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from infra.web import rate_limits
from tests.workers.ingress.conftest import body_of
from workers.ingress.app import build_state, make_app
from workers.ingress.route import Route
from workers.ingress.routes import PROBES, ROUTES


@pytest.fixture
async def app(resources: Resources) -> web.Application:
    async with RpcClient(resources.settings, "test") as requester:
        return make_app(build_state(resources, requester), asyncio.Event())


async def test_the_router_has_the_routes_of_the_table_and_the_probes(
    app: web.Application,
) -> None:
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and not isinstance(route, SystemRoute)
    }
    listed = {(route.method, route.path) for route in ROUTES}
    heads = {("HEAD", path) for method, path in listed if method == "GET"}
    probes = {(method, path) for method in ("GET", "HEAD") for path in PROBES}
    assert routed == listed | heads | probes
    assert len(listed) == len(ROUTES)


LIMITED = {
    "register": rate_limits.REGISTRATION,
    "login": rate_limits.LOGIN,
    "refresh": rate_limits.REFRESH,
    "post_password": rate_limits.PASSWORD,
    "post_events": rate_limits.EVENTS,
    "post_webhook": rate_limits.WEBHOOKS,
    "get_jwks": rate_limits.UNLIMITED,
    "get_openapi": rate_limits.UNLIMITED,
    "get_asyncapi": rate_limits.UNLIMITED,
}


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
def test_every_route_is_limited_as_the_api_but_for_these(route: Route) -> None:
    assert route.limit is LIMITED.get(route.name, rate_limits.API)
    names = {
        *route.limit.requests,
        *route.limit.failures,
        *route.limit.targeted,
        *route.limit.buckets,
    }
    assert names <= UNITS.keys()


# --- documents --------------------------------------------------------------------------------


def references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
        return own.union(*(references(value) for value in document.values()))
    if isinstance(document, list):
        return set().union(*(references(value) for value in document))
    return set()


def resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        document = document[part]
    return document


async def test_every_route_is_in_the_openapi_document(client: aiohttp.ClientSession) -> None:
    document = await body_of(await client.get("/openapi.json"), 200)
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == {(r.method, r.path) for r in ROUTES} | {("GET", p) for p in PROBES}
    for reference in references(document):
        assert resolve(document, reference)


async def test_the_openapi_document_tells_inputs_answers_and_who_may(
    client: aiohttp.ClientSession,
) -> None:
    document = await body_of(await client.get("/openapi.json"), 200)
    names = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            names.add(operation["operationId"])
            assert operation["summary"]
            assert operation["responses"]
            given = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert given == set(re.findall(r"\{(\w+)\}", path))
    assert len(names) == len(ROUTES) + len(PROBES)
    create = document["paths"]["/api/v1/campaigns"]["post"]
    shape = create["requestBody"]["content"]["application/json"]["schema"]
    draft = resolve(document, shape["$ref"])
    assert {"name", "budget", "platform", "targeting"} == set(draft["required"])
    assert create["responses"].keys() >= {
        "201",
        "202",
        "400",
        "401",
        "403",
        "413",
        "415",
        "422",
        "429",
    }
    assert create["security"] == [{"token": ["campaigns:write"]}, {"key": ["campaigns:write"]}]
    assert document["paths"]["/api/v1/auth/login"]["post"]["security"] == []
    listing = document["paths"]["/api/v1/campaigns"]["get"]
    assert {p["name"] for p in listing["parameters"]} == {"page", "per_page", "platform", "status"}


async def test_every_event_and_queue_is_in_the_asyncapi_document(
    client: aiohttp.ClientSession,
) -> None:
    document = await body_of(await client.get("/asyncapi.json"), 200)
    assert document["asyncapi"] == "3.0.0"
    assert document["components"]["messages"].keys() == EVENT_TYPES.keys()
    queues = {queue.name for queue in topology.WORK_QUEUES}
    queues |= {queue.name for queue in topology.REQUEST_QUEUES}
    assert document["channels"].keys() == EVENT_TYPES.keys() | queues
    for reference in references(document):
        assert resolve(document, reference)
    login = document["channels"]["login.requested.v1"]
    assert login["bindings"]["amqp"]["exchange"]["name"] == topology.REQUEST_EXCHANGE
    saved = document["channels"]["campaign.saved.v1"]
    assert saved["address"] == "campaign.saved.v1.{platform}"
    received = document["operations"]["receive.metrics.record"]
    assert received["action"] == "receive"


async def test_the_public_keys_verify_tokens_elsewhere(
    client: aiohttp.ClientSession, resources: Resources
) -> None:
    response = await client.get("/.well-known/jwks.json")
    assert await body_of(response, 200) == TokenVerifier(resources.settings).jwks()
    assert response.headers["Cache-Control"] == "public, max-age=300"

"""Every field of every route at its limits: taken or refused with its name, never a 500.

The routes, fields and limits are those of the OpenAPI document that the ingress serves, so a
new field is aimed at too. Lengths are aimed at in characters, in bytes of UTF-8 and in bytes of
JSON escapes, since what stands behind a field may count any of them.
"""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
from yarl import URL

from infra.settings import Settings
from tests.workers.ingress.api.test_events import report
from tests.workers.ingress.conftest import DRAFT, Person, body_of, error_of, working
from workers import auth

# One character each, as text: its UTF-8 has 1 to 4 bytes, its JSON escape up to 6.
CHARACTERS = ("a", "\u00e9", "\u20ac", "\U0001f511", "\x01", '"', "\\", "\0", "\x85", "\uffff")
QUICK = ("\U0001f511", "\x01")
LENGTHS = (0, 1, 128, 255, 256, 512, 1000, 1500, 4096, 8000, 8001, 70_000)
PASSWORD = "plain but long enough"
BODIES: dict[str, Any] = {
    "register": {"email": "ada@example.com", "password": PASSWORD},
    "login": {"email": "ada@example.com", "password": PASSWORD},
    "refresh": {"refresh_token": "x"},
    "logout": {"refresh_token": "x"},
    "post_password": {"current_password": PASSWORD, "new_password": PASSWORD},
    "post_campaign": dict(DRAFT),
    "patch_campaign": {"name": "New", "targeting": DRAFT["targeting"]},
    "post_events": report(comext="x", subject="x", dataschema="x", correlationid="x"),
    "post_api_key": {
        "name": "crm",
        "scopes": ["events:publish:campaign.*"],
        "sources": ["urn:acme:crm"],
    },
    "patch_user": {"role": "viewer"},
    "patch_dead_letter": {"changes": {"id": "x"}},
    "post_webhook": {},
    "pause_queue": {"reason": "x"},
    "pause_platform": {"reason": "x"},
    "resume_platform": {"account": str(UUID(int=1))},
}
HEADERS = (
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "X-Request-ID",
    "X-Correlation-ID",
    "traceparent",
    "User-Agent",
    "Accept",
    "Content-Encoding",
    "X-Claude-Signature",
    "ce-id",
    "Cookie",
)


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


def texts(characters: Sequence[str], *limits: int) -> Iterator[str]:
    """Write texts whose characters, bytes or escapes are about as many as a limit."""
    for character in characters:
        sizes = {1, len(character.encode()), len(orjson.dumps(character)) - 2}
        counts = {limit // size + more for limit in limits for size in sizes for more in (0, 1)}
        for count in sorted(counts | {1}):
            yield character * count
    yield from ("a" * (limits[0] - 1) + "\0" for _ in limits[:1] if limits[0] > 1)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Find every text in a body."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))
    elif isinstance(value, str):
        yield path


def put(value: Any, path: tuple[Any, ...], text: str) -> Any:
    if not path:
        return text
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], text)
    return copy


def name_of(path: tuple[Any, ...]) -> str:
    names = []
    for part in path:
        if isinstance(part, int):
            break
        names.append(part)
    return ".".join(names)


async def routes(client: aiohttp.ClientSession) -> list[tuple[str, str, dict[str, Any]]]:
    document = await body_of(await client.get("/openapi.json"), 200)
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "probes" not in operation.get("tags", ())
    ]


def limits_of(schema: Any) -> set[int]:
    """Find the lengths that a schema names."""
    if isinstance(schema, dict):
        own = {value for name, value in schema.items() if name == "maxLength"}
        return own.union(*map(limits_of, schema.values()))
    if isinstance(schema, list):
        return set[int]().union(*map(limits_of, schema))
    return set()


def filled(path: str, **parts: str) -> str:
    for name in ("id", "platform", "source", "queue"):
        default = {"platform": "claude", "source": "claude", "queue": "metrics.record"}
        part = parts.get(name, default.get(name, str(uuid4())))
        path = path.replace(f"{{{name}}}", quote(part, safe=""))
    return path


async def check(response: aiohttp.ClientResponse, what: object, field: str | None = None) -> None:
    text = await response.text()
    assert response.status < 500, (what, response.status, text)
    if response.status == 400 and field is not None:
        details = orjson.loads(text)["error"].get("details", [])
        named = [line["field"] for line in details]
        assert any(field.startswith(name) or name.startswith(field) for name in named), (
            what,
            field,
            text,
        )


async def aim_at_bodies(
    client: aiohttp.ClientSession,
    admin: Person,
    key: str,
    *limits: int,
    characters: Sequence[str] = CHARACTERS,
) -> None:
    seen = set()
    for method, path, operation in await routes(client):
        name = operation["operationId"]
        if "requestBody" not in operation:
            continue
        seen.add(name)
        who = {"X-API-Key": key} if name == "post_events" else admin.headers
        kind = "application/cloudevents+json" if name == "post_events" else "application/json"
        headers = {**who, "Content-Type": kind, "If-Match": "*"}
        body = BODIES[name]
        for place in places(body):
            for text in texts(characters, *limits):
                sent = orjson.dumps(put(body, place, text))
                url = URL(filled(path), encoded=True)
                response = await client.request(method, url, data=sent, headers=headers)
                await check(response, (name, place, text[:1], len(text)), name_of(place))
    assert seen == set(BODIES)


@pytest.mark.usefixtures("_worker")
async def test_no_length_of_a_field_is_a_server_error(
    client: aiohttp.ClientSession, admin: Person, api_key: str
) -> None:
    await aim_at_bodies(client, admin, api_key, 512, characters=QUICK)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_worker")
async def test_no_length_of_a_field_is_a_server_error_at_any_limit(
    client: aiohttp.ClientSession, admin: Person, api_key: str
) -> None:
    document = await body_of(await client.get("/openapi.json"), 200)
    await aim_at_bodies(client, admin, api_key, *sorted({*LENGTHS[1:], *limits_of(document)}))


@pytest.mark.usefixtures("_worker")
async def test_no_query_path_or_header_is_a_server_error(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    chance = random.Random(20)
    hostile = ["a\0", "%", "\x01" * 200, "\U0001f511" * 60]
    for method, path, operation in await routes(client):
        headers = {**admin.headers, "If-Match": "*"}
        body = BODIES.get(operation["operationId"])
        parameters = operation.get("parameters", [])
        for text in hostile:
            for parameter in parameters:
                name, where = parameter["name"], parameter["in"]
                if where == "header":
                    continue
                parts = {name: text} if where == "path" else {}
                query = f"?{name}={quote(text, safe='')}" if where == "query" else ""
                url = URL(filled(path, **parts) + query, encoded=True)
                response = await client.request(
                    method, url, json=body, headers=headers, allow_redirects=False
                )
                await check(response, (method, url))
        for name in chance.sample(HEADERS, 4):
            text = chance.choice(("a" * 4000, '"' * 200, "\u00e9" * 300, "9" * 2000, ",;=" * 300))
            response = await client.request(
                method,
                URL(filled(path), encoded=True),
                json=None if name == "Content-Encoding" else body,
                headers={**headers, name: text},
                allow_redirects=False,
            )
            await check(response, (method, path, name, text[:1]))


@pytest.mark.usefixtures("_worker")
async def test_what_fits_its_field_is_taken_as_far_as_the_auth_worker(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    for character in CHARACTERS:
        token = {"refresh_token": character * 512}
        await error_of(await client.post("/api/v1/auth/refresh", json=token), 401)
        login = {"email": "ada@example.com", "password": character * 128}
        await error_of(await client.post("/api/v1/auth/login", json=login), 401)
    sources = [f"{number:02}" + "\U0001f511" * 198 for number in range(20)]
    scopes = ["events:publish:campaign." + "*" * (70 + number) for number in range(20)]
    draft = {"name": "\U0001f511" * 100, "scopes": scopes, "sources": sources}
    made = await client.post("/api/v1/api-keys", json=draft, headers=admin.headers)
    assert (await body_of(made, 201))["data"]["sources"] == sources


@pytest.mark.parametrize("length", [1500, 4000, 7000])
async def test_a_long_code_of_a_platform_is_no_malformed_request(
    client: aiohttp.ClientSession, length: int
) -> None:
    path = "/api/v1/platforms/claude/callback"
    for name in ("code", "error", "error_description", "iss"):
        query = {"state": "x", "code": "x", name: "c" * length}
        error = await error_of(await client.get(path, params=query), 400)
        assert error["code"] == "INVALID_STATE", name  # it was looked for, and not known

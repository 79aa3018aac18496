"""Whatever is sent, the answer is in the envelope, never a server error, and never an echo."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.settings import Settings
from tests.workers.ingress.api.test_dead_letters import insert_dead_letters, make_dead_letter
from tests.workers.ingress.api.test_events import BATCH, STRUCTURED, post, report
from tests.workers.ingress.api.test_webhooks import STATUS, signed
from tests.workers.ingress.conftest import DRAFT, Person, working
from workers import auth

CANARY = "canary 5f2b"  # no name: names of unknown fields may be told
text = st.text(max_size=20) | st.just(CANARY)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | text
    | st.builds(list)
    | st.builds(dict)  # a new one each time: mutations write into it
    | st.sampled_from(["\0", "\ud7ff", "9" * 400, -1, 0, 1e308])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)

many = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def mutations(draw: st.DrawFn, original: dict[str, Any]) -> bytes:
    """Change a good document in a few places, or replace it."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=50)) if draw(st.booleans()) else dumps(draw(values))
    document = orjson.loads(orjson.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while True:
            inner = [key for key in place if isinstance(place[key], dict)]
            if not inner or draw(st.booleans()):
                break
            place = place[draw(st.sampled_from(sorted(inner)))]
        names = st.sampled_from(sorted(place)) if place else text
        place[draw(names | text)] = draw(values)
    return dumps(document)


def dumps(value: Any) -> bytes:
    """Write what JSON cannot say as Python would."""
    import json

    return json.dumps(value).encode("utf-8", "surrogatepass")


async def check(response: aiohttp.ClientResponse, *expected: int) -> None:
    answer = await response.text()
    assert response.status in expected, answer
    if response.status >= 400:
        assert orjson.loads(answer)["success"] is False
        # An event's source is named to the key that may not speak for it.
        assert CANARY not in answer or response.status == 403


@many
@given(body=mutations(dict(DRAFT)))
async def test_a_campaign(client: aiohttp.ClientSession, manager: Person, body: bytes) -> None:
    headers = {**manager.headers, "Content-Type": "application/json"}
    await check(await client.post("/api/v1/campaigns", data=body, headers=headers), 202, 400)


@many
@given(body=mutations(report()))
async def test_an_event(client: aiohttp.ClientSession, api_key: str, body: bytes) -> None:
    await check(await post(client, api_key, body, STRUCTURED), 202, 400, 403)


@many
@given(bodies=st.lists(mutations(report()), max_size=4))
async def test_a_batch(client: aiohttp.ClientSession, api_key: str, bodies: list[bytes]) -> None:
    body = b"[" + b",".join(bodies) + b"]"
    await check(await post(client, api_key, body, BATCH), 202, 207, 400)


@many
@given(body=mutations(STATUS))
async def test_a_genuine_webhook(
    client: aiohttp.ClientSession, settings: Settings, body: bytes
) -> None:
    response = await client.post("/webhooks/claude", data=body, headers=signed(settings, body))
    await check(response, 200)


@pytest.fixture
async def _worker(settings: Settings) -> AsyncIterator[None]:
    async with working(settings, *auth.SUBSCRIPTIONS):
        yield


KEY = {
    "name": "crm",
    "scopes": ["events:publish:campaign.*", "campaigns:read"],
    "sources": ["urn:acme:crm"],
    "owner_id": None,
    "expires_at": "2030-01-01T00:00:00+01:00",
}


@many
@given(body=mutations(KEY))
@pytest.mark.usefixtures("_worker")
async def test_an_api_key(client: aiohttp.ClientSession, admin: Person, body: bytes) -> None:
    headers = {**admin.headers, "Content-Type": "application/json"}
    await check(await client.post("/api/v1/api-keys", data=body, headers=headers), 201, 400)


@many
@given(body=mutations({"role": "viewer"}))
@pytest.mark.usefixtures("_worker")
async def test_a_role(
    client: aiohttp.ClientSession, admin: Person, manager: Person, body: bytes
) -> None:
    headers = {**admin.headers, "Content-Type": "application/json"}
    path = f"/api/v1/users/{manager.id}"
    await check(await client.patch(path, data=body, headers=headers), 200, 400)


@many
@given(body=mutations({"changes": {"data.clicks": 5, "data": {}, "id": "e-2"}}))
async def test_a_mended_letter(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, body: bytes
) -> None:
    (path,) = await insert_dead_letters(engine, make_dead_letter())
    headers = {**admin.headers, "Content-Type": "application/json"}
    await check(await client.patch(path, data=body, headers=headers), 200, 400)


QUERY = ("actor", "action", "outcome", "from", "to", "page", "per_page", "role", "state")


@many
@given(
    query=st.dictionaries(
        st.sampled_from(QUERY),
        text | st.integers().map(str) | st.datetimes().map(str),
        max_size=4,
    ),
    path=st.sampled_from(["audit", "users", "api-keys", "dead", "dead/metrics.record"]),
)
async def test_a_question(
    client: aiohttp.ClientSession, admin: Person, query: dict[str, str], path: str
) -> None:
    url = f"/api/v1/{path}"
    await check(await client.get(url, params=query, headers=admin.headers), 200, 400)


header = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
NAMES = (
    "Authorization",
    "X-API-Key",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "Prefer",
    "X-Request-ID",
    "X-Correlation-ID",
    "traceparent",
    "Content-Type",
    "X-Claude-Signature",
)


@many
@given(headers=st.dictionaries(st.sampled_from(NAMES), header, max_size=4))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/campaigns"),
        ("GET", "/api/v1/campaigns/00000000-0000-4000-8000-000000000000"),
        ("DELETE", "/api/v1/campaigns/00000000-0000-4000-8000-000000000000"),
        ("POST", "/webhooks/claude"),
        ("POST", "/api/v1/events"),
    ],
)
async def test_headers(
    client: aiohttp.ClientSession, admin: Person, method: str, path: str, headers: dict[str, str]
) -> None:
    body = orjson.dumps(dict(DRAFT)) if method == "POST" else None
    given = {"Content-Type": "application/json", **admin.headers, **headers}
    response = await client.request(method, path, data=body, headers=given)
    await check(response, 202, 400, 401, 403, 404, 412, 415, 422, 428)

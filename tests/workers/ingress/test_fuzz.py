"""Whatever is sent, the answer is in the envelope, never a fault of ours, and never an echo."""

from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.settings import Settings
from tests.workers.ingress.conftest import DRAFT, Person
from tests.workers.ingress.test_events import BATCH, STRUCTURED, post, report
from tests.workers.ingress.test_webhooks import STATUS, signed

CANARY = "canary 5f2b"  # no name: names of unknown fields may be told
text = st.text(max_size=20) | st.just(CANARY)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | text
    | st.sampled_from([[], {}, "\0", "\ud7ff", "9" * 400, -1, 0, 1e308])
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
        assert CANARY not in answer


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

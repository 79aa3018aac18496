"""What the ingress publishes about itself: its keys, its routes, its events."""

from aiohttp import web

from workers.ingress.envelope import bare, to_json
from workers.ingress.gate import Call

CACHING = {"Cache-Control": "public, max-age=300"}


async def get_jwks(call: Call) -> web.Response:
    """Answer the public keys that verify access tokens (RFC 7517)."""
    return bare(to_json(call.gate.verifier.jwks()), headers=CACHING)


async def get_openapi(call: Call) -> web.Response:
    """Answer every route as OpenAPI 3.1."""
    return bare(call.gate.openapi, headers=CACHING)


async def get_asyncapi(call: Call) -> web.Response:
    """Answer every event as AsyncAPI 3.0."""
    return bare(call.gate.asyncapi, headers=CACHING)

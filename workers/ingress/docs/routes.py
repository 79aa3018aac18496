"""The documents of the ingress: public keys, OpenAPI and AsyncAPI."""

from aiohttp import web

from infra.security.access_tokens import JWKS_MAX_AGE_SECONDS
from infra.web.responses import raw_json, to_json
from workers.ingress.context import RequestContext

CACHE_HEADERS = {"Cache-Control": "public, max-age=300"}
# A rotation publishes a new key for longer than this before it signs with the key.
JWKS_CACHE_HEADERS = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE_SECONDS}"}


async def get_jwks(context: RequestContext) -> web.Response:
    """Return the public keys that verify access tokens (RFC 7517)."""
    return raw_json(to_json(context.state.verifier.jwks()), headers=JWKS_CACHE_HEADERS)


async def get_openapi(context: RequestContext) -> web.Response:
    """Return every route as OpenAPI 3.1."""
    return raw_json(context.state.openapi, headers=CACHE_HEADERS)


async def get_asyncapi(context: RequestContext) -> web.Response:
    """Return every event as AsyncAPI 3.0."""
    return raw_json(context.state.asyncapi, headers=CACHE_HEADERS)

"""The consent page of a sandbox platform (authorization endpoint, RFC 6749, section 4.1).

A request with an unknown client or an unregistered redirect URI is not redirected: the owner sees
an error page. Every other error is sent to the client's redirect URI.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from urllib.parse import urlencode

from aiohttp import web

from infra.sandbox.platform_api import PlatformApi

CODE_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1.5rem}"
    "button{font:inherit;padding:.4rem 1.4rem;margin-right:1rem}"
)
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    "<style>{style}</style></head><body><h1>{title}</h1>{body}</body></html>"
)


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """The authorization endpoint; ``redirect_uri`` is registered for our client."""

    api: PlatformApi
    redirect_uri: str

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        path = f"/{self.api.name}{self.api.dialect.AUTHORIZE_PATH}"
        return [web.get(path, self.on_ask), web.post(path, self.on_answer)]

    async def on_ask(self, request: web.Request) -> web.StreamResponse:
        """Show the page, or redirect with an error."""
        asked = dict(request.query)
        wrong = self._refuse(request, asked)
        return wrong or self._page(asked)

    async def on_answer(self, request: web.Request) -> web.StreamResponse:
        """Redirect with a code, or with the owner's denial."""
        asked = {name: str(value) for name, value in (await request.post()).items()}
        wrong = self._refuse(request, asked)
        if wrong is not None:
            return wrong
        if asked.get("decision") != "allow":
            return self._back(
                request,
                asked,
                {"error": "access_denied", "error_description": "the owner said no"},
            )
        name, word = self.api.dialect.OFFLINE or ("", "")
        code = self.api.state.consents.give(
            self.redirect_uri,
            asked["code_challenge"],
            asked.get("scope", "").split(),
            offline=not name or word in asked.get(name, "").split(),
        )
        return self._back(request, asked, {"code": code})

    def _refuse(self, request: web.Request, asked: Mapping[str, str]) -> web.Response | None:
        client_id, redirect_uri = asked.get("client_id"), asked.get("redirect_uri")
        if client_id != self.api.client[0] or redirect_uri != self.redirect_uri:
            return _html("Unknown application", "<p>It is not registered here.</p>", 400)
        faults = self.api.faults
        if faults.consent_error is not None:
            said = {"error": faults.consent_error, "error_description": "as the <b>test</b> wants"}
            return self._back(request, asked, said)
        proof = asked.get("code_challenge_method"), asked.get("response_type")
        if proof != ("S256", "code") or not CODE_CHALLENGE.fullmatch(
            asked.get("code_challenge", "")
        ):
            said = {"error": "invalid_request", "error_description": "PKCE with S256 is required"}
            return self._back(request, asked, said)
        return None

    def _page(self, asked: Mapping[str, str]) -> web.Response:
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in asked.items()
        )
        scopes = "".join(f"<li>{escape(scope)}</li>" for scope in asked.get("scope", "").split())
        body = (
            f"<p>The application <b>{escape(asked['client_id'])}</b> wants to act for you:</p>"
            f'<ul>{scopes}</ul><form method="post">{hidden}'
            '<button name="decision" value="allow">Allow</button>'
            '<button name="decision" value="deny">Deny</button></form>'
        )
        return _html(f"{self.api.name.capitalize()} sandbox", body, 200)

    def _back(
        self, request: web.Request, asked: Mapping[str, str], said: Mapping[str, str]
    ) -> web.Response:
        issuer = f"{request.url.origin()}/{self.api.name}"
        if self.api.faults.wrong_issuer:
            issuer += "/somebody-else"
        query = urlencode({**said, "state": asked.get("state", ""), "iss": issuer})
        place = {"Location": f"{self.redirect_uri}?{query}", "Cache-Control": "no-store"}
        return web.Response(status=HTTPStatus.SEE_OTHER, headers=place)


def _html(title: str, body: str, status: int) -> web.Response:
    text = PAGE.format(title=escape(title), style=STYLE, body=body)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

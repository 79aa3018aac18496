"""The OAuth consents of one sandbox platform: codes, refresh tokens, access tokens.

A code is valid once and for a minute. Each refresh replaces the refresh token; a code or refresh
token that is used twice revokes the whole consent, since two parties have it (RFC 6749, section
4.1.2; RFC 9700, section 4.14.2). Every collection has a maximum size.
"""

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

CODE_SECONDS = 60
MAX_ITEMS = 1_000


@dataclass(slots=True)
class Consent:
    """One owner's consent; ``account`` is the owner's name at the platform."""

    account: str
    scopes: tuple[str, ...]
    offline: bool
    refresh: str = ""
    refreshes: int = 0
    revoked: bool = False

    def shown(self) -> dict[str, Any]:
        """Return it without its token."""
        return {name: value for name, value in asdict(self).items() if name != "refresh"}


@dataclass(slots=True)
class AuthorizationCode:
    """An authorization code; ``until`` is monotonic seconds."""

    redirect_uri: str
    challenge: str
    consent: Consent
    until: float
    used: bool = False


@dataclass(slots=True)
class ConsentStore:
    """The authorization server's state of one platform."""

    given: deque[Consent] = field(default_factory=lambda: deque(maxlen=MAX_ITEMS))
    codes: OrderedDict[str, AuthorizationCode] = field(default_factory=OrderedDict)
    refreshes: OrderedDict[str, Consent] = field(default_factory=OrderedDict)
    accesses: OrderedDict[str, tuple[Consent, float]] = field(default_factory=OrderedDict)

    def give(
        self, redirect_uri: str, challenge: str, scopes: Sequence[str], *, offline: bool
    ) -> str:
        """Store the consent of a new owner; returns the code."""
        consent = Consent(f"owner-{len(self.given) + 1}", tuple(scopes), offline)
        code = secrets.token_urlsafe(24)
        until = time.monotonic() + CODE_SECONDS
        _keep(self.codes, code, AuthorizationCode(redirect_uri, challenge, consent, until))
        return code

    def redeem(self, code: str, redirect_uri: str, challenge: str) -> Consent | None:
        """Redeem a code for its consent; None if it is invalid."""
        held = self.codes.get(code)
        if held is None:
            return None
        if held.used:
            held.consent.revoked = True
            return None
        held.used = True
        fits = (held.redirect_uri, held.challenge) == (redirect_uri, challenge)
        if not fits or held.until < time.monotonic():
            return None
        self.given.append(held.consent)
        return held.consent

    def renew(self, refresh: str) -> Consent | None:
        """Redeem a refresh token; a used one revokes its consent and returns None."""
        consent = self.refreshes.get(refresh)
        if consent is None or consent.revoked:
            return None
        if consent.refresh != refresh:
            consent.revoked = True
            return None
        consent.refreshes += 1
        return consent

    def issue(self, consent: Consent, seconds: int) -> dict[str, Any]:
        """Issue the tokens of a consent, in the format of a token response."""
        access = secrets.token_urlsafe(24)
        _keep(self.accesses, access, (consent, time.monotonic() + seconds))
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": seconds,
            "scope": " ".join(consent.scopes),
        }
        if consent.offline:
            consent.refresh = secrets.token_urlsafe(24)
            _keep(self.refreshes, consent.refresh, consent)
            answer["refresh_token"] = consent.refresh
        return answer

    def revoke(self, token: str) -> None:
        """Revoke the consent of a token; an unknown token is ignored."""
        access = self.accesses.get(token)
        consent = access[0] if access else self.refreshes.get(token)
        if consent is not None:
            consent.revoked = True

    def owner_of(self, access: str) -> str | None:
        """Return the account of a valid access token, else None."""
        consent, until = self.accesses.get(access, (None, 0.0))
        alive = consent is not None and not consent.revoked and until > time.monotonic()
        return consent.account if consent is not None and alive else None

    def dump(self) -> list[dict[str, Any]]:
        """Return what survives a restart; access tokens do not."""
        return [asdict(consent) for consent in self.given]

    def load(self, dumped: list[dict[str, Any]]) -> None:
        """Read what ``dump`` wrote."""
        for fields in dumped:
            consent = Consent(**{**fields, "scopes": tuple(fields["scopes"])})
            self.given.append(consent)
            if consent.refresh:
                self.refreshes[consent.refresh] = consent


def _keep(kept: OrderedDict[str, Any], name: str, value: object) -> None:
    kept[name] = value
    while len(kept) > MAX_ITEMS:
        kept.popitem(last=False)

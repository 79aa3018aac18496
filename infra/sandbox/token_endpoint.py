"""The token endpoint for owners' consents (RFC 6749, RFC 7636)."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

from infra.sandbox.fault_injection import Faults
from infra.sandbox.oauth_grants import ConsentStore
from infra.sandbox.state import SandboxResponse

SUPPORTED_GRANT_TYPES = ("authorization_code", "refresh_token")


def issue_tokens(
    consents: ConsentStore, faults: Faults, form: Mapping[str, str]
) -> SandboxResponse:
    """Answer the token request of an authenticated client."""
    if form["grant_type"] == "authorization_code":
        challenge = sha256(form.get("code_verifier", "").encode(errors="surrogatepass")).digest()
        given = consents.redeem(
            form.get("code", ""),
            form.get("redirect_uri", ""),
            urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        )
        refused, words = faults.refuse_codes, "the code is not valid, or was used before"
    else:
        given = consents.renew(form.get("refresh_token", ""))
        refused, words = faults.refuse_refresh, "the consent was withdrawn or has expired"
    if given is None or refused:
        return SandboxResponse(400, {"error": "invalid_grant", "error_description": words})
    return SandboxResponse(200, consents.issue(given, faults.token_seconds))

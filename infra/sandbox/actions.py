"""Applies the requests of a platform's API to its state."""

from dataclasses import replace

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from infra.sandbox.dialect import CampaignAction, SandboxDialect
from infra.sandbox.fault_injection import Faults
from infra.sandbox.state import PlatformState


class ApiError(Exception):
    """A request is rejected with an HTTP status, an upper-case code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep what the dialect writes into the error response."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def perform_action(
    action: CampaignAction,
    dialect: SandboxDialect,
    state: PlatformState,
    faults: Faults,
    campaign_id: str | None,
    key: str | None,
    body: bytes,
) -> SandboxCampaign:
    """Perform the action of a request and return its campaign. Raises ``ApiError``."""
    if action == "create":
        return state.create(_parse_campaign(dialect, faults, body), key)
    known = state.campaigns.get(campaign_id or "")
    if known is None:
        raise ApiError(404, "NOT_FOUND", "no such campaign")
    match action:
        case "update":
            known.put(_parse_campaign(dialect, faults, body))
        case "pause":
            known.put(replace(known.desired, status="paused"))
        case "resume":
            known.put(replace(known.desired, status="active"))
        case "delete":
            state.forget(known.id)
        case "status":
            pass
    return known


def _parse_campaign(dialect: SandboxDialect, faults: Faults, body: bytes) -> DesiredCampaign:
    try:
        desired = dialect.parse_campaign(body)
    except ValueError:
        raise ApiError(400, "INVALID_ARGUMENT", "the campaign is not well formed") from None
    if any(phrase in desired.name for phrase in faults.refuse_names):
        raise ApiError(422, "POLICY_VIOLATION", "the name breaks the advertising policy")
    return desired

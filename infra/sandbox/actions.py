"""What the calls of a platform's API do to its book."""

from dataclasses import replace

from infra.sandbox.campaigns import Campaign, Wished
from infra.sandbox.dialect import Action, Tongue
from infra.sandbox.fault_injection import Faults
from infra.sandbox.state import Book


class Unmet(Exception):
    """A call is refused: with a status, an upper-case code and words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep what the platform will say in its own words."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def act(
    action: Action,
    tongue: Tongue,
    book: Book,
    faults: Faults,
    campaign_id: str | None,
    key: str | None,
    body: bytes,
) -> Campaign:
    """Do what a call asks for and tell the campaign it was about. Raises ``Unmet``."""
    if action == "create":
        return book.create(_wished(tongue, faults, body), key)
    known = book.campaigns.get(campaign_id or "")
    if known is None:
        raise Unmet(404, "NOT_FOUND", "no such campaign")
    match action:
        case "update":
            known.put(_wished(tongue, faults, body))
        case "pause":
            known.put(replace(known.wished, status="paused"))
        case "resume":
            known.put(replace(known.wished, status="active"))
        case "delete":
            book.forget(known.id)
        case "status":
            pass
    return known


def _wished(tongue: Tongue, faults: Faults, body: bytes) -> Wished:
    try:
        wished = tongue.wished(body)
    except ValueError:
        raise Unmet(400, "INVALID_ARGUMENT", "the campaign is not well formed") from None
    if any(phrase in wished.name for phrase in faults.refuse_names):
        raise Unmet(422, "POLICY_VIOLATION", "the name breaks the advertising policy")
    return wished

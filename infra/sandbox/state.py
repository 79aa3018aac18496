"""The state of one sandbox platform: campaigns, responses by idempotency key, tokens, request log.

Every collection has a maximum size. A campaign's id is an HMAC of the key that created it: it
cannot be guessed, and the same create yields the same id even after everything was forgotten.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from infra.sandbox.oauth_grants import ConsentStore

MAX_CAMPAIGNS = 10_000
MAX_STORED_RESPONSES = 5_000
MAX_TOKENS = 1_000
MAX_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class SandboxResponse:
    """A response: its status and its JSON value."""

    status: int
    value: Any


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One logged request about a campaign; ``began`` and ``at`` are its start and its end.

    ``number`` counts from 1; ``version`` is the client's, of the body that took effect.
    """

    number: int
    began: datetime
    at: datetime
    action: str
    status: int
    outcome: str
    campaign_id: str | None
    reference: str | None
    version: str | None
    key: str | None
    account: str | None


@dataclass(slots=True)
class PlatformState:
    """The state of one platform; ``secret`` keys the ids, which begin with ``prefix``."""

    prefix: str
    secret: bytes
    campaigns: dict[str, SandboxCampaign] = field(default_factory=dict)
    answers: OrderedDict[str, tuple[str, SandboxResponse]] = field(default_factory=OrderedDict)
    tokens: OrderedDict[str, float] = field(default_factory=OrderedDict)
    consents: ConsentStore = field(default_factory=ConsentStore)
    calls: deque[ApiCall] = field(default_factory=lambda: deque(maxlen=MAX_CALLS))
    max_campaigns: int = MAX_CAMPAIGNS
    max_answers: int = MAX_STORED_RESPONSES
    counted: int = 0
    evicted: int = 0

    def issue_token(self, seconds: int) -> str:
        """Issue an access token that is valid for ``seconds``."""
        token = secrets.token_urlsafe(24)
        self.tokens[token] = time.monotonic() + seconds
        _trim(self.tokens, MAX_TOKENS)
        return token

    def accepts_token(self, token: str) -> bool:
        """Check a token of our client or of an owner's consent."""
        own = self.tokens.get(token, 0) > time.monotonic()
        return own or self.consents.owner_of(token) is not None

    def create(self, desired: DesiredCampaign, key: str | None) -> SandboxCampaign:
        """Create a campaign, or return the one that the same key created.

        When there are too many, the oldest that is not seeded is evicted; a client that updates it
        gets 404 and creates it again.
        """
        seed = (key or secrets.token_hex()).encode(errors="surrogatepass")
        digest = hmac.digest(self.secret, seed, hashlib.sha256)
        name = f"{self.prefix}{int.from_bytes(digest[:8])}"
        if name in self.campaigns:
            return self.campaigns[name]
        while len(self.campaigns) >= self.max_campaigns:
            plain = (c.id for c in self.campaigns.values() if not c.is_seeded)
            self.forget(next(plain, next(iter(self.campaigns))))
            self.evicted += 1
        campaign = SandboxCampaign(name, desired, desired.status)
        campaign.put(desired)
        self.campaigns[campaign.id] = campaign
        return campaign

    def forget(self, campaign_id: str) -> None:
        """Delete a campaign and its stored responses."""
        self.campaigns.pop(campaign_id, None)
        for key in [key for key, (about, _) in self.answers.items() if about == campaign_id]:
            del self.answers[key]

    def answer_to(self, key: str) -> SandboxResponse | None:
        """Return the stored response of an idempotency key."""
        found = self.answers.get(key)
        return found[1] if found else None

    def remember(self, key: str, campaign_id: str, reply: SandboxResponse) -> None:
        """Store a response under its idempotency key."""
        self.answers[key] = (campaign_id, reply)
        _trim(self.answers, self.max_answers)

    def note(self, **call: Any) -> None:  # noqa: ANN401 - the fields of Call
        """Append a request to the log."""
        self.counted += 1
        self.calls.append(ApiCall(number=self.counted, at=datetime.now(UTC), **call))

    def dump(self) -> dict[str, Any]:
        """Return what survives a restart as JSON values."""
        return {
            "campaigns": [campaign.dump() for campaign in self.campaigns.values()],
            "consents": self.consents.dump(),
            "answers": [[key, about, asdict(r)] for key, (about, r) in self.answers.items()],
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Read what ``dump`` wrote."""
        campaigns = map(SandboxCampaign.load, dumped["campaigns"])
        self.campaigns = {campaign.id: campaign for campaign in campaigns}
        self.consents.load(dumped.get("consents", []))
        self.answers = OrderedDict(
            (k, (about, SandboxResponse(**r))) for k, about, r in dumped["answers"]
        )


def _trim(kept: OrderedDict[str, Any], size: int) -> None:
    while len(kept) > size:
        kept.popitem(last=False)

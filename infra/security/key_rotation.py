"""Changing the key that signs access tokens, in three turns that log nobody out.

    seeds        public keys     who restarts             then wait until
    old          old
    old new      old new         every ingress            nobody has the old list of keys
    new          old new         every auth worker        the last token of the old key is over
    new          new             every ingress, some day

The first seed signs. Whatever is running between two turns, each token that is signed is
signed with a key that every verifier lists. What turn comes next is read from the keys
themselves, so a turn that was interrupted is finished by the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from infra.base64url import KeyPair
from infra.security.access_tokens import JWKS_MAX_AGE_SECONDS, LEEWAY_SECONDS, derive_public_key

# Others may have fetched the list just before it changed, from a cache that had just done so.
KEY_LIST_CACHE_TIME = timedelta(seconds=2 * JWKS_MAX_AGE_SECONDS)
# An auth worker that is ending still signs while it finishes what it has in hand.
SHUTDOWN_MARGIN = timedelta(seconds=60)

Step = Literal["list", "sign", "drop"]
RESTARTED_PROCESS = {"list": "web", "sign": "auth", "drop": "web"}


class InvalidKeySet(Exception):
    """The keys are not as any turn leaves them; says in words what is wrong."""


class TooEarly(Exception):
    """It is too early for the next turn, which is due at ``at`` (UTC)."""

    def __init__(self, step: Step, at: datetime) -> None:
        """Keep which turn is next, and when."""
        super().__init__(f"it is too early to {STEP_DESCRIPTIONS[step]}")
        self.step = step
        self.at = at


STEP_DESCRIPTIONS = {
    "list": "list the new key",
    "sign": "sign with the new key",
    "drop": "drop the old key",
}


@dataclass(frozen=True, slots=True)
class KeySet:
    """Seeds (the first one signs), public keys, and when a turn last changed them (UTC)."""

    seeds: tuple[str, ...] = field(repr=False)
    public_keys: tuple[str, ...]
    since: datetime | None = None

    @property
    def derived_public_keys(self) -> tuple[str, ...]:
        """The public keys of the seeds; raises ``ValueError`` for a malformed seed."""
        return tuple(derive_public_key(seed) for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class RotationStep:
    """A turn, the keys after it, and how long to wait for the next one, if there is one.

    The wait begins when the last process has been restarted.
    """

    step: Step
    keys: KeySet
    wait: timedelta | None


def next_step(keys: KeySet) -> Step:
    """Tell which turn is next.

    Raises ``InvalidKeySet`` when no verifier would accept what is signed.
    """
    if not keys.seeds or keys.derived_public_keys[0] not in keys.public_keys:
        raise InvalidKeySet(
            "the key that signs is not among the public keys, so every token is refused: "
            "put its public key into TOKEN_VERIFY_KEYS and restart web"
        )
    if len(keys.seeds) > 1:
        return "sign" if set(keys.derived_public_keys) <= set(keys.public_keys) else "list"
    return "drop" if len(keys.public_keys) > 1 else "list"


def apply_next_step(
    keys: KeySet, *, now: datetime, life: timedelta, make: Callable[[], KeyPair]
) -> RotationStep:
    """Make the next turn; ``life`` is that of an access token.

    Keys that somebody has changed by hand, at an unknown time, count as changed ``now``.
    Raises ``InvalidKeySet`` and ``TooEarly``.
    """
    step = next_step(keys)
    overlap = life + timedelta(seconds=LEEWAY_SECONDS) + SHUTDOWN_MARGIN
    wait = {"list": timedelta(0), "sign": KEY_LIST_CACHE_TIME, "drop": overlap}[step]
    due = (keys.since or now) + wait
    if step != "list" and now < due:
        raise TooEarly(step, due)
    if step == "list":
        seeds = keys.seeds if len(keys.seeds) > 1 else (*keys.seeds, make().private)
        publics = map(derive_public_key, seeds)
        after = KeySet(seeds, tuple(dict.fromkeys((*keys.public_keys, *publics))), now)
        return RotationStep(step, after, KEY_LIST_CACHE_TIME)
    if step == "sign":
        after = KeySet(keys.seeds[1:], keys.public_keys, now)
        return RotationStep(step, after, overlap)
    return RotationStep(step, KeySet(keys.seeds, keys.derived_public_keys, now), None)

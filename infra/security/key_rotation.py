"""Rotates the key that signs access tokens, in three steps that log nobody out.

    step   seeds     public keys   restart afterwards    then wait until
           old       old
    list   old new   old new       every ingress         no cache holds the old list of keys
    sign   new       old new       every auth worker     the last token of the old key expires
    drop   new       new           every ingress         -

The first seed signs. Whichever processes run between two steps, each token is signed with a key
that every verifier accepts. The next step follows from the keys themselves, so a step that was
interrupted is completed by the next call.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from infra.base64url import KeyPair
from infra.security.access_tokens import JWKS_MAX_AGE_SECONDS, LEEWAY_SECONDS, derive_public_key

# A client may fetch the list just before it changes, from a cache that did the same.
KEY_LIST_CACHE_TIME = timedelta(seconds=2 * JWKS_MAX_AGE_SECONDS)
# An auth worker that shuts down still signs while it completes its batches.
SHUTDOWN_MARGIN = timedelta(seconds=60)

Step = Literal["list", "sign", "drop"]
RESTARTED_PROCESS = {"list": "web", "sign": "auth", "drop": "web"}
STEP_DESCRIPTIONS = {
    "list": "list the new key",
    "sign": "sign with the new key",
    "drop": "drop the old key",
}


class InvalidKeySet(Exception):
    """No step leaves keys like these; the message says what is wrong."""


class TooEarly(Exception):
    """The next step is ``step``, which may be applied from ``at`` on (UTC)."""

    def __init__(self, step: Step, at: datetime) -> None:
        """Keep the step and its time."""
        super().__init__(f"it is too early to {STEP_DESCRIPTIONS[step]}")
        self.step = step
        self.at = at


@dataclass(frozen=True, slots=True)
class KeySet:
    """Seeds (the first one signs), public keys, and when a step last changed them (UTC)."""

    seeds: tuple[str, ...] = field(repr=False)
    public_keys: tuple[str, ...]
    since: datetime | None = None

    @property
    def derived_public_keys(self) -> tuple[str, ...]:
        """The public keys of the seeds; raises ``ValueError`` for a malformed seed."""
        return tuple(derive_public_key(seed) for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class RotationStep:
    """A step, the keys after it, and how long to wait for the next one, if there is one.

    The wait starts when the last process has been restarted.
    """

    step: Step
    keys: KeySet
    wait: timedelta | None


def next_step(keys: KeySet) -> Step:
    """Return the step that comes next.

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
    """Apply the next step; ``life`` is the lifetime of an access token, ``make`` makes a key.

    Keys without a time, which were edited by hand, count as changed ``now``.
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
        public_keys = dict.fromkeys((*keys.public_keys, *map(derive_public_key, seeds)))
        return RotationStep(step, KeySet(seeds, tuple(public_keys), now), KEY_LIST_CACHE_TIME)
    if step == "sign":
        return RotationStep(step, KeySet(keys.seeds[1:], keys.public_keys, now), overlap)
    return RotationStep(step, KeySet(keys.seeds, keys.derived_public_keys, now), None)

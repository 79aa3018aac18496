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

from infra.security.access_tokens import JWKS_SECONDS, LEEWAY, public_of
from infra.security.base64url import KeyPair

# Others may have fetched the list just before it changed, from a cache that had just done so.
LISTING = timedelta(seconds=2 * JWKS_SECONDS)
# An auth worker that is ending still signs while it finishes what it has in hand.
ENDING = timedelta(seconds=60)

Step = Literal["list", "sign", "drop"]
RESTART = {"list": "web", "sign": "auth", "drop": "web"}


class Broken(Exception):
    """The keys are not as any turn leaves them; says in words what is wrong."""


class NotYet(Exception):
    """It is too early for the next turn, which is due at ``at`` (UTC)."""

    def __init__(self, step: Step, at: datetime) -> None:
        """Keep which turn is next, and when."""
        super().__init__(f"it is too early to {MEANING[step]}")
        self.step = step
        self.at = at


MEANING = {
    "list": "list the new key",
    "sign": "sign with the new key",
    "drop": "drop the old key",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """Seeds (the first one signs), public keys, and when a turn last changed them (UTC)."""

    seeds: tuple[str, ...] = field(repr=False)
    listed: tuple[str, ...]
    since: datetime | None = None

    @property
    def publics(self) -> tuple[str, ...]:
        """The public keys of the seeds; raises ``ValueError`` for a malformed seed."""
        return tuple(public_of(seed) for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn, the keys after it, and how long to wait for the next one, if there is one.

    The wait begins when the last process has been restarted.
    """

    step: Step
    keys: Keys
    wait: timedelta | None


def waiting(keys: Keys) -> Step:
    """Tell which turn is next.

    Raises ``Broken`` when no verifier would accept what is signed.
    """
    if not keys.seeds or keys.publics[0] not in keys.listed:
        raise Broken(
            "the key that signs is not among the public keys, so every token is refused: "
            "put its public key into TOKEN_VERIFY_KEYS and restart web"
        )
    if len(keys.seeds) > 1:
        return "sign" if set(keys.publics) <= set(keys.listed) else "list"
    return "drop" if len(keys.listed) > 1 else "list"


def turn(keys: Keys, *, now: datetime, life: timedelta, make: Callable[[], KeyPair]) -> Turn:
    """Make the next turn; ``life`` is that of an access token.

    Keys that somebody has changed by hand, at an unknown time, count as changed ``now``.
    Raises ``Broken`` and ``NotYet``.
    """
    step = waiting(keys)
    overlap = life + timedelta(seconds=LEEWAY) + ENDING
    wait = {"list": timedelta(0), "sign": LISTING, "drop": overlap}[step]
    due = (keys.since or now) + wait
    if step != "list" and now < due:
        raise NotYet(step, due)
    if step == "list":
        seeds = keys.seeds if len(keys.seeds) > 1 else (*keys.seeds, make().private)
        publics = map(public_of, seeds)
        after = Keys(seeds, tuple(dict.fromkeys((*keys.listed, *publics))), now)
        return Turn(step, after, LISTING)
    if step == "sign":
        after = Keys(keys.seeds[1:], keys.listed, now)
        return Turn(step, after, overlap)
    return Turn(step, Keys(keys.seeds, keys.publics, now), None)

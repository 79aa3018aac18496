"""Decides what happens to an event whose attempt failed. A pure function.

    Permanent                      -> dead-lettered now
    Snooze(seconds)                -> the smallest tier that is long enough, at no cost
    Transient or anything else     -> a longer tier each time, sometimes one longer still (jitter
                                      that only extends), until the attempts or the seconds of
                                      waiting are used up -> dead-lettered

Age is counted in seconds of waiting that failures have cost. Time in a queue, a pause or a snooze
does not count.
"""

from dataclasses import dataclass

from infra.amqp import topology
from infra.errors import Failure, Permanent, Snooze, Transient

TIER_NAMES: tuple[str, ...] = tuple(topology.RETRY_TIERS)
SKIP_SHARE = 0.25  # of the retries wait one tier longer


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits: failed attempts in all, and seconds of waiting in all."""

    max_attempts: int = 10
    max_waited: float = 4 * 3600


DEFAULT_POLICY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Wait in ``tier``; the message carries ``attempt`` and ``seconds_waited`` from now on."""

    tier: str
    attempt: int
    seconds_waited: int
    snoozed: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterDecision:
    """Dead-letter it: the reason in words, the class of the error, the attempts it had."""

    reason: str
    error_class: str
    attempts: int


def decide(
    error: BaseException,
    attempt: int,
    waited: int,
    jitter: float,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> RetryDecision | DeadLetterDecision:
    """Decide whether a failed event is retried or dead-lettered.

    ``attempt`` counts its failed attempts before this one, ``waited`` the seconds they cost;
    ``jitter`` is a random number in [0, 1).
    """
    if isinstance(error, Snooze):
        return RetryDecision(_find_tier(error.seconds), attempt, waited, snoozed=True)
    spent = attempt + 1
    if isinstance(error, Permanent):
        return DeadLetterDecision(error.reason, error.code, spent)
    limit = policy.max_waited
    if isinstance(error, Transient) and error.within is not None:
        limit = error.within
    if spent >= policy.max_attempts:
        return DeadLetterDecision(f"{_describe(error)} ({spent} attempts)", _class(error), spent)
    level = min(attempt + (jitter < SKIP_SHARE), len(TIER_NAMES) - 1)
    # The last waits are as long as the limit still allows.
    fitting = [
        tier for tier in TIER_NAMES[: level + 1] if waited + topology.RETRY_TIERS[tier] <= limit
    ]
    if not fitting:
        return DeadLetterDecision(
            f"{_describe(error)} (waited {waited} of {limit:.0f} s)", _class(error), spent
        )
    tier = fitting[-1]
    return RetryDecision(tier, spent, waited + int(topology.RETRY_TIERS[tier]))


def _find_tier(seconds: float) -> str:
    return next(
        (tier for tier, wait in topology.RETRY_TIERS.items() if wait >= seconds), TIER_NAMES[-1]
    )


def _class(error: BaseException) -> str:
    return error.code if isinstance(error, Failure) else type(error).__name__


def _describe(error: BaseException) -> str:
    # The text of an unexpected error may quote data or secrets; its type does not.
    return error.reason if isinstance(error, Failure) else f"unexpected {type(error).__name__}"

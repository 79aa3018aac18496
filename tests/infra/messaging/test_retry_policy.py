"""The retry policy, as a table of cases."""

import pytest

from infra.errors import Permanent, Snooze, Transient
from infra.messaging.retry_policy import (
    TIER_NAMES,
    DeadLetterDecision,
    RetryDecision,
    RetryPolicy,
    decide,
)

LATE = 0.9  # a die that adds no rung
EARLY = 0.1  # a die that adds one

CASES = [
    # error, attempts before, seconds waited, die -> decision
    (Transient("t"), 0, 0, LATE, RetryDecision("1s", 1, 1)),
    (Transient("t"), 0, 0, EARLY, RetryDecision("5s", 1, 5)),
    (Transient("t"), 1, 1, LATE, RetryDecision("5s", 2, 6)),
    (Transient("t"), 2, 6, LATE, RetryDecision("30s", 3, 36)),
    (Transient("t"), 3, 36, LATE, RetryDecision("5m", 4, 336)),
    (Transient("t"), 4, 336, LATE, RetryDecision("30m", 5, 2136)),
    (Transient("t"), 4, 336, EARLY, RetryDecision("30m", 5, 2136)),
    (Transient("t"), 8, 9336, LATE, RetryDecision("30m", 9, 11136)),
    (Transient("t"), 9, 0, LATE, DeadLetterDecision("t (10 attempts)", "TRANSIENT", 10)),
    (Transient("t"), 5, 13000, LATE, RetryDecision("5m", 6, 13300)),
    (
        Transient("t"), 5, 14400, LATE,
        DeadLetterDecision("t (waited 14400 of 14400 s)", "TRANSIENT", 6),
    ),
    (Transient("t", within=600), 3, 36, LATE, RetryDecision("5m", 4, 336)),
    (Transient("t", within=600), 4, 336, LATE, RetryDecision("30s", 5, 366)),
    (Transient("t", within=600), 8, 599, LATE, RetryDecision("1s", 9, 600)),
    (
        Transient("t", within=600), 8, 600, LATE,
        DeadLetterDecision("t (waited 600 of 600 s)", "TRANSIENT", 9),
    ),
    (Transient("t", code="NEW"), 9, 0, LATE, DeadLetterDecision("t (10 attempts)", "NEW", 10)),
    (Permanent("p"), 0, 0, LATE, DeadLetterDecision("p", "PERMANENT", 1)),
    (
        Permanent("p", code="INVALID_EVENT"), 3, 9, LATE,
        DeadLetterDecision("p", "INVALID_EVENT", 4),
    ),
    (Snooze("s", 0.5), 0, 0, EARLY, RetryDecision("1s", 0, 0, snoozed=True)),
    (Snooze("s", 6), 2, 6, LATE, RetryDecision("30s", 2, 6, snoozed=True)),
    (Snooze("s", 99999), 9, 14400, LATE, RetryDecision("30m", 9, 14400, snoozed=True)),
    (ZeroDivisionError("secret"), 0, 0, LATE, RetryDecision("1s", 1, 1)),
    (
        KeyError("secret"), 9, 0, LATE,
        DeadLetterDecision("unexpected KeyError (10 attempts)", "KeyError", 10),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("error", "attempt", "waited", "dice", "decision"), CASES)
def test_the_policy_decides_as_its_table_says(
    error: BaseException,
    attempt: int,
    waited: int,
    dice: float,
    decision: RetryDecision | DeadLetterDecision,
) -> None:
    assert decide(error, attempt, waited, dice) == decision


def test_every_failure_ends_after_the_attempts_of_its_policy() -> None:
    policy = RetryPolicy(max_attempts=4, max_waited=10**9)
    attempt, waited = 0, 0
    tiers = []
    while isinstance(
        decision := decide(RuntimeError(), attempt, waited, LATE, policy), RetryDecision
    ):
        attempt, waited = decision.attempt, decision.seconds_waited
        tiers.append(decision.tier)
    assert tiers == list(TIER_NAMES[:3])
    assert decision.attempts == 4

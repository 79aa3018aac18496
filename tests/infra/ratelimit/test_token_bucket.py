"""Tests token buckets: exact, evenly refilled, never stuck."""

from limits import parse

from infra.ratelimit.policies import RateLimitPolicy, Unit
from infra.ratelimit.token_bucket import BucketSet, TokenBucket

NOW = 1_000_000.0  # monotonic seconds


def policy(rate: str, unit: Unit = "requests") -> RateLimitPolicy:
    return RateLimitPolicy("webhook-requests", parse(rate), unit)


def grants(bucket: TokenBucket, times: int, now: float) -> int:
    """Take ``times`` units at one moment; returns how many were granted."""
    granted = 0
    for _ in range(times):
        if not bucket.is_empty(now):
            bucket.take(1, now)
            granted += 1
    return granted


def test_a_bucket_grants_its_amount_at_once_and_not_one_more() -> None:
    for rate, amount in (("1/hour", 1), ("3/second", 3), ("5000/second", 5000), ("7/3 days", 7)):
        assert grants(TokenBucket(policy(rate)), amount * 2, NOW) == amount, rate


def test_a_bucket_refills_evenly() -> None:
    bucket = TokenBucket(policy("10/second"))
    assert grants(bucket, 20, NOW) == 10
    assert grants(bucket, 20, NOW + 0.05) == 0
    assert grants(bucket, 20, NOW + 0.1) == 1
    assert grants(bucket, 20, NOW + 0.4) == 3
    assert grants(bucket, 20, NOW + 100) == 10


def test_at_a_steady_pace_the_rate_is_granted_and_the_rest_is_not() -> None:
    bucket = TokenBucket(policy("100/second"))
    assert grants(bucket, 200, NOW) == 100
    granted = sum(grants(bucket, 1, NOW + number / 400) for number in range(1, 4001))
    assert 999 <= granted <= 1000  # ten seconds


def test_giving_back_undoes_a_take() -> None:
    bucket = TokenBucket(policy("2/hour"))
    for _ in range(10):
        assert grants(bucket, 1, NOW) == 1
        bucket.give_back()
    assert grants(bucket, 5, NOW) == 2


def test_a_body_larger_than_the_budget_passes_and_the_next_one_waits_for_it() -> None:
    bucket = TokenBucket(policy("1000/second", "bytes"))
    assert not bucket.is_empty(NOW)
    bucket.take(3000, NOW)
    assert bucket.is_empty(NOW + 1.9)
    assert not bucket.is_empty(NOW + 2.1)


def test_the_status_reports_what_is_left_and_when_there_is_more() -> None:
    bucket = TokenBucket(policy("10/second"))
    assert bucket.status(NOW, granted=True).left == 10
    grants(bucket, 4, NOW)
    assert bucket.status(NOW, granted=True).left == 6
    grants(bucket, 6, NOW)
    spent = bucket.status(NOW, granted=False)
    assert spent.left == 0
    assert not bucket.is_empty(NOW + spent.wait + 0.001)
    assert bucket.is_empty(NOW + spent.wait - 0.01)


def test_a_bucket_set_counts_requests_and_bytes_and_reports_the_empty_one() -> None:
    requests, size = policy("3/day"), policy("1000/day", "bytes")
    many, large = BucketSet((requests, size)), BucketSet((requests, size))
    assert [many.take(10) is None for _ in range(4)] == [True, True, True, False]
    assert [large.take(600) is None for _ in range(3)] == [True, True, False]
    refused, oversized = many.take(10), large.take(1)
    assert refused is not None
    assert oversized is not None
    assert (refused.policy, oversized.policy) == (requests, size)
    assert not refused.granted


def test_a_bucket_set_without_policies_grants_everything() -> None:
    assert {BucketSet(()).take(10**9) for _ in range(100)} == {None}


def test_processes_of_one_port_have_a_part_each_and_at_least_one() -> None:
    for share, granted in ((1, 5), (2, 2), (9, 1)):
        bucket = TokenBucket(policy("5/hour"), share)
        assert grants(bucket, 6, 0.0) == granted

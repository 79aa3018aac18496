"""What ``make bench AGAINST=commit`` makes of its pairs of measurements."""

import random

import pytest

from tests.bench.pairs import Comparison, interval, table


def compared(unit: str, *ratios: float) -> Comparison:
    return Comparison("consume", unit, (100.0,) * len(ratios), tuple(100.0 * r for r in ratios))


NOISE = (0.93, 0.96, 0.97, 0.99, 1.0, 1.01, 1.02, 1.05, 1.08)


def test_the_spread_of_nine_pairs_is_their_second_to_eighth_ratio() -> None:
    found = compared("events/s", *reversed(NOISE))

    assert found.ratio == pytest.approx(1.0)
    assert found.spread == pytest.approx((0.96, 1.05))


@pytest.mark.parametrize(("count", "left_out"), [(6, 0), (8, 0), (9, 1), (12, 2), (20, 5)])
def test_the_interval_of_the_median_is_that_of_the_sign_test(count: int, left_out: int) -> None:
    ordered = [float(number) for number in range(count)]

    assert interval(ordered) == (left_out, count - 1 - left_out)


def test_the_interval_holds_the_true_median_in_95_of_100_trials() -> None:
    chance = random.Random(1)
    trials = [interval(sorted(chance.gauss(1, 0.05) for _ in range(9))) for _ in range(2000)]

    assert sum(least <= 1 <= most for least, most in trials) >= 0.95 * len(trials)


def test_too_few_pairs_have_no_spread() -> None:
    with pytest.raises(ValueError, match="5 pairs"):
        interval([1.0] * 5)


@pytest.mark.parametrize(
    ("unit", "by", "worse"),
    [
        ("events/s", 1.0, False),
        ("events/s", 0.94, False),  # its spread reaches what is allowed
        ("events/s", 0.90, True),
        ("events/s", 1.2, False),
        ("CPU us/event", 1.06, False),
        ("CPU us/event", 1.11, True),
        ("CPU us/event", 0.8, False),
    ],
)
def test_only_what_is_worse_beyond_its_own_spread_is_called_worse(
    unit: str, by: float, *, worse: bool
) -> None:
    found = compared(unit, *(ratio * by for ratio in NOISE))

    assert found.is_worse is worse
    assert ("worse than 3%" in found.verdict) is worse
    assert found.verdict in table([found])

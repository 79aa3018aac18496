"""Which deliveries may be acknowledged together."""

from hypothesis import given
from hypothesis import strategies as st

from infra.messaging.acknowledgements import AckTracker


def test_a_gap_holds_the_watermark_back_until_it_is_settled() -> None:
    watermark = AckTracker()
    assert watermark.settle([2, 3]) is None
    assert watermark.settle([5]) is None
    assert watermark.settle([1]) == 3
    assert watermark.settle([4]) == 5


def test_what_lies_above_a_gap_is_told_singly_and_once() -> None:
    watermark = AckTracker()
    watermark.settle([1, 3, 4])
    assert watermark.out_of_order() == [3, 4]
    assert watermark.out_of_order() == []


@given(st.permutations(range(1, 40)))
def test_no_ack_ever_covers_an_unsettled_delivery(order: list[int]) -> None:
    watermark = AckTracker()
    settled: set[int] = set()
    last = 0
    for tag in order:
        settled.add(tag)
        low = watermark.settle([tag])
        if low is not None:
            assert set(range(1, low + 1)) <= settled
            assert low > last
            last = low
    assert last == 39

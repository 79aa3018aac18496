"""The table of faults that cannot happen on a version of RabbitMQ."""

import pytest

from tests.chaos.versions import IMPOSSIBLE, PAUSE_OF_A_MINORITY, STALE_RECORD, find_impossible


@pytest.mark.parametrize(
    ("fault", "version", "impossible"),
    [
        (STALE_RECORD, "3.10.8", False),
        (STALE_RECORD, "3.9.27", False),
        (STALE_RECORD, "3.12.0", True),
        (STALE_RECORD, "4.0.5", True),
        (PAUSE_OF_A_MINORITY, "4.2.6", False),
        (PAUSE_OF_A_MINORITY, "4.3.0-rc.1", True),
        (PAUSE_OF_A_MINORITY, "4.10.0+8.gabc", True),
        ("a fault of every version", "4.3.6", False),
    ],
)
def test_a_fault_is_impossible_from_a_version_on(
    fault: str, version: str, *, impossible: bool
) -> None:
    assert (find_impossible(fault, version) is not None) == impossible


def test_every_row_gives_a_reason() -> None:
    assert all(row.reason and row.since for row in IMPOSSIBLE)
    assert len({row.fault for row in IMPOSSIBLE}) == len(IMPOSSIBLE)

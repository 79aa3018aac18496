"""What runs together on a worker of pytest-xdist, and what starts first."""

import pytest

from infra.deploy.services.directories import CHECKOUT
from tests.distribution import CHAOS, LONGEST, get_unit, order


def test_a_module_and_all_of_chaos_stay_together() -> None:
    assert get_unit("tests/infra/test_logs.py::test_a[x::y]") == "tests/infra/test_logs.py"
    assert get_unit("tests/chaos/test_cache.py::test_a") == CHAOS


@pytest.mark.parametrize("unit", LONGEST)
def test_every_unit_that_starts_first_exists(unit: str) -> None:
    assert (CHECKOUT / unit).exists()


def test_the_longest_come_first_and_the_rest_keeps_its_order(
    request: pytest.FixtureRequest,
) -> None:
    items = list(request.session.items)
    order(items)
    units = list(dict.fromkeys(get_unit(item.nodeid) for item in items))
    collected = list(dict.fromkeys(get_unit(item.nodeid) for item in request.session.items))
    first = [unit for unit in LONGEST if unit in collected]
    assert units[: len(first)] == first
    assert units[len(first) :] == [unit for unit in collected if unit not in first]

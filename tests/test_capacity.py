"""What ``make bench ARGS=capacity`` makes of its measurements."""

import os
import subprocess
import sys

import pytest

from tests.bench.capacity import Cost, divide_cpu, free_cores, is_off
from tests.bench.capacity_model import (
    Prediction,
    count_cores,
    count_processes,
    mix_costs,
    predict,
)
from tests.bench.capacity_requests import FLOOD_RATES, MIXES
from tests.bench.capacity_tables import write
from tests.bench.paced_wrk import Request, interleave
from tests.bench.results import Result
from tests.bench.usage import Usage, read_usage

NAMES = ("web", "auth", "campaigns", "sync", "metrics", "relay", "redis", "rabbitmq", "generator")
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, what the kernel counts CPU time in
COSTS = dict.fromkeys(NAMES, 0.0)


def test_the_cores_are_full_where_no_process_is_full_before() -> None:
    found = predict(COSTS | {"web": 250.0, "metrics": 50.0, "rabbitmq": 200.0}, cores=2)

    assert found.full == "cores"
    assert found.rate == pytest.approx(4000)


def test_a_process_on_one_core_may_be_full_before_the_cores() -> None:
    found = predict(COSTS | {"web": 50.0, "metrics": 200.0}, cores=2)

    assert found.full == "metrics"
    assert found.rate == pytest.approx(5000)


def test_what_runs_without_load_leaves_less() -> None:
    costs = COSTS | {"web": 250.0, "rabbitmq": 250.0}
    assert predict(costs, cores=1.5).rate == pytest.approx(3000)


def test_a_mix_costs_its_shares_of_the_routes() -> None:
    costs = {"one": COSTS | {"web": 100.0}, "other": COSTS | {"web": 20.0, "relay": 10.0}}
    found = mix_costs(costs, {"one": 0.25, "other": 0.75})

    assert found["web"] == pytest.approx(40)
    assert found["relay"] == pytest.approx(7.5)
    for shares in MIXES.values():
        assert sum(shares.values()) == pytest.approx(1)


def test_a_larger_rate_needs_more_processes_none_of_which_is_full() -> None:
    costs = COSTS | {"web": 250.0, "metrics": 30.0, "generator": 70.0}
    needed = count_processes(costs, 10_000)

    assert (needed["web"], needed["metrics"], needed["auth"]) == (4, 1, 1)
    assert count_cores(costs, 10_000) == pytest.approx(2.8)


def test_cpu_without_load_is_subtracted_and_the_rest_of_the_machine_is_named() -> None:
    idle = Usage(10.0, {"web": 2.5, "bench": 0.0}, {}, 3.0)
    used = Usage(5.0, {"web": 2.5, "bench": 1.5}, {}, 6.5)
    found = divide_cpu(used, idle, units=1000)

    assert found["web"] == pytest.approx(1250)
    assert found["generator"] == pytest.approx(1500)
    assert found["kernel and others"] == pytest.approx((6.5 - 1.5 - 1.25 - 1.5) * 1000)


def test_on_a_busy_machine_the_rest_is_not_counted_as_the_kernel_s() -> None:
    idle = Usage(10.0, {"web": 1.0, "bench": 0.0}, {}, 18.0)
    used = Usage(5.0, {"web": 2.5, "bench": 0.5}, {}, 10.0)

    assert divide_cpu(used, idle, units=1000)["kernel and others"] == 0
    assert free_cores(idle) == pytest.approx(len(os.sched_getaffinity(0)) - 0.1)


def test_every_request_of_a_mix_keeps_the_shares_of_the_units() -> None:
    small = [Request("/one", "", "") for _ in range(450)]
    large = [Request("/many", "", "", 100) for _ in range(5)]
    merged = interleave([(0.45, small), (0.5, large)])

    units = dict.fromkeys(("/one", "/many"), 0)
    for request in merged[:-1]:
        units[request.path] += request.units
        assert abs(units["/many"] - units["/one"] / 0.9) <= 200
    assert len(merged) > 400


def test_the_tables_are_markdown_with_a_row_for_every_route_and_mix() -> None:
    components = {"sandbox": 0.0, "kernel and others": 5.0, "postgres": 40.0, "ops": 0.0}
    cost = Cost(COSTS | components | {"web": 200.0}, 700.0, 900.0, 1500.0)
    idle = Usage(10.0, {"web": 0.1, "bench": 0.5}, {}, 1.0)
    checks = {mix: (Prediction(4000.0, "cores"), 1.05) for mix in MIXES}
    text = write(dict.fromkeys(FLOOD_RATES, cost), {"inbox": 120.0}, idle, {"web": 150.0}, checks)

    for name in (*FLOOD_RATES, *MIXES):
        assert f"| {name} |" in text
    assert "| 4,000 | cores | 4,200 | +5% |" in text
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 6
    for block in blocks:
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1


@pytest.mark.parametrize(("sustained", "off"), [(90.0, False), (110.0, False), (80.0, True)])
def test_a_prediction_is_off_beyond_fifteen_in_a_hundred(sustained: float, *, off: bool) -> None:
    mix = next(iter(MIXES))
    results = [
        Result("capacity", f"{mix}: predicted", "units/s", 100.0),
        Result("capacity", f"{mix}: sustained", "units/s", sustained),
    ]
    assert is_off(results) is off


def test_a_child_with_a_name_of_its_own_counts_for_that_alone() -> None:
    burn = "sum(range(10_000_000)); print(flush=True); input()"
    words = (sys.executable, "-c", burn)
    before = read_usage({"bench": os.getpid()}).cpu["bench"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603 - our own interpreter
        assert child.stdout is not None
        child.stdout.readline()
        apart = read_usage({"bench": os.getpid(), "child": child.pid}).cpu
        together = read_usage({"bench": os.getpid()}).cpu["bench"]
        child.communicate(b"\n")
    ended = read_usage({"bench": os.getpid()}).cpu["bench"]
    assert apart["child"] > 0.05
    assert apart["bench"] - before < apart["child"] / 2
    assert together - before > apart["child"] - TICK
    assert ended - before > apart["child"] - TICK

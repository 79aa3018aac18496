"""The flow: figures from samples, the picture, the sentence above it, charts."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from infra.storage.flow_counts import AcceptedCount, PutOffCounts
from tests.workers.ops.samples import START, WELL, Queues, make_pause, make_report, make_sample
from workers.ops.alert import Alert, AlertList
from workers.ops.effect_times import EffectTimes, summarize
from workers.ops.flow.charts import LOWEST_LABEL, build_charts, choose_top, place_labels
from workers.ops.flow.edges import find_edge_states, rate_state
from workers.ops.flow.entries import find_entry, rate_accepted
from workers.ops.flow.figures import build_flow
from workers.ops.flow.line_path import trace_spark
from workers.ops.flow.live_values import write_flow
from workers.ops.flow.picture import draw_flow
from workers.ops.flow.timeline import STEPS, align_samples, differentiate
from workers.ops.lede import build_lede
from workers.ops.overview_figures import build_figures
from workers.ops.sampler import Sample

QUEUE = "sync.gemini"


def lede(sample: Sample) -> str:
    return build_lede(sample, build_flow([sample]))


@pytest.mark.parametrize(
    ("kind", "name", "route", "outbox", "entry"),
    [
        ("http", "POST", "/api/v1/events", False, "events"),
        ("http", "POST", "/api/v1/campaigns", True, "api"),
        ("console", "POST", "/dead-letters/{id}/replay", True, "api"),
        ("webhook", "gemini", "slot=1", True, "webhooks"),
        ("amqp", "user=crm", "", False, "amqp"),
        ("amqp", "user=workers", "", True, "caused"),
        ("amqp", "", "", False, "amqp"),
    ],
)
def test_a_door_belongs_to_one_entry(
    kind: str, name: str, route: str, *, outbox: bool, entry: str
) -> None:
    assert find_entry(AcceptedCount(kind, name, route, outbox, 1)) == entry


def test_rates_are_divided_by_entry_and_sender() -> None:
    assert WELL.accepted is not None
    rates = rate_accepted(WELL.accepted, 10)
    assert rates.by_entry["webhooks"] == 236
    assert (rates.accepted, rates.caused) == (236 + 118 + 0.5 + 4, 187)
    assert rates.parts["amqp"] == {"<b>crm": 4}
    assert rates.relayed == 187


@pytest.mark.parametrize(
    ("rate", "state"),
    [(None, "none"), (0, "w1"), (0.99, "w1"), (1, "w2"), (19, "w2"), (20, "w3"), (150, "w4")],
)
def test_a_line_has_one_of_four_widths_by_rate(rate: float | None, state: str) -> None:
    assert rate_state(rate) == state
    assert rate_state(rate, is_held=True) == "paused"


def test_the_picture_is_xml_without_styles_and_escapes_the_texts_of_others() -> None:
    picture = draw_flow(build_flow([make_sample()]))
    root = ET.fromstring(str(picture))  # noqa: S314 - our own text
    assert not any({"style", "onclick"} & set(element.attrib) for element in root.iter())
    assert "&lt;b&gt;crm 4" in picture
    keys = re.findall(r'data-live(?:-state|-d|-points)?="([^"]+)"', picture)
    values = write_flow(build_flow([make_sample()]))
    assert set(keys) <= values.keys()
    states = [
        element.get("data-state") for element in root.iter() if "data-state" in element.attrib
    ]
    assert {"w1", "w3", "w4", "ok"} <= set(states)


def test_a_paused_queue_is_dotted_and_a_slow_one_stands_out() -> None:
    queues: Queues = {
        QUEUE: {"state": "paused", "ready": 5904, "pause": make_pause(QUEUE)},
        "campaigns.record": {"ready": 1140},
        "campaigns.apply": {"ready": 4},
        "metrics.record": {"state": "unread", "ready": 1, "consumers": 0},
    }
    handled = {"campaigns.record": 950, "campaigns.apply": 450}
    flow = build_flow([make_sample(0, queues, handled=handled)])
    found = {lane.name: (lane.state, lane.word) for lane in flow.lanes}
    assert found[QUEUE] == ("paused", "paused")
    assert found["campaigns.record"] == ("warn", "slow")
    assert found["campaigns.apply"] == ("ok", "running")
    assert found["metrics.record"] == ("bad", "no consumer")
    states = find_edge_states(flow)
    assert states[f"lane.{QUEUE}.out"] == "paused"
    assert states["lane.campaigns.record.out"] == "w3"
    assert flow.platforms["gemini"].value == "paused"


def test_workers_and_platforms_show_what_their_processes_say() -> None:
    put_off = PutOffCounts({"snoozed": 3}, {"sync.chatgpt": "ChatGPT Ads asks to wait"})
    reports = [
        make_report("sync", claude=2, chatgpt=0, gemini=0),
        make_report("sync", claude=1, gemini=0, ready=False),
    ]
    flow = build_flow([make_sample(flow=replace(WELL, put_off=put_off), processes=reports)])
    found = {name: (node.value, node.state) for name, node in flow.platforms.items()}
    assert found["claude"] == ("breaker open", "bad")
    assert found["chatgpt"] == ("asks to wait", "warn")
    assert found["gemini"] == ("0/s", "")
    assert (flow.workers["sync"].value, flow.workers["sync"].state) == ("1 of 2 ready", "bad")
    assert (flow.workers["auth"].value, flow.workers["auth"].state) == ("2 consumers", "")


def test_what_is_not_known_is_never_0() -> None:
    dark = make_sample(overview=None, flow=None, handled=None, outbox=None)
    flow = build_flow([dark])
    assert flow.lanes == []
    assert draw_flow(flow)
    assert all(node.value in {"not known", "no answer"} for node in (*flow.entries, flow.postgres))
    assert [one.value for one in build_figures([dark])] == ["not known"] * 6
    assert {one.path for one in build_figures([dark])} == {""}
    assert not any(chart.is_known for chart in build_charts([dark], START))
    lagging = make_sample(flow=replace(WELL, accepted=None))
    assert build_flow([lagging]).events.value == "not known"
    assert build_figures([lagging])[0].state == "unknown"


def test_the_sentence_names_what_is_wrong_and_what_is_paused() -> None:
    assert lede(make_sample()) == "Events are accepted and take effect. Nothing is paused."
    page = Alert("AdrelayNoIngress", "page", "No ingress answers", START)
    fired = AlertList((page, page), "from Prometheus")
    told = lede(make_sample(alerts=fired))
    assert told == "No ingress answers, and 1 more fire. Nothing is paused."
    told = lede(make_sample(alerts=AlertList(problem="Prometheus is gone")))
    assert told == "Alerts are not known, because Prometheus is gone. Nothing is paused."
    queues: Queues = {
        "campaigns.record": {"ready": 1140},
        "metrics.record": {"state": "unread", "dead": 2},
        QUEUE: {"state": "paused", "pause": make_pause(QUEUE)},
    }
    told = lede(
        make_sample(
            0,
            queues,
            handled={"campaigns.record": 950},
            processes=[make_report("sync", claude=2)],
            redis=False,
        )
    )
    assert told == (
        "Redis does not answer this console. metrics.record has no consumer. "
        "campaigns.record is slow. Calls to Claude Ads fail. "
        "2 dead letters wait for a person. sync.gemini is paused."
    )
    assert lede(make_sample(overview=None)).startswith("Not known: Postgres does not answer.")


def test_samples_lie_on_an_even_grid_and_a_gap_stays_a_gap() -> None:
    history = [make_sample(seconds) for seconds in (1, 8, 12, 100)]
    grid = align_samples(history, history[-1].at)
    assert len(grid) == STEPS
    assert [sample.number for sample in grid if sample] == [8, 12, 100]
    assert trace_spark([1.0, None, 2.0, 4.0]) == (
        "M0.0,17.5 h0.1 L0.0,17.5 M64.0,12.5 h0.1 L64.0,12.5 L96.0,2.5"
    )
    assert differentiate([5, 25, None, 30, 10]) == [None, 2.0, None, None, None]


def test_a_chart_has_round_ticks_and_names_that_do_not_overlap() -> None:
    assert [choose_top(value) for value in (0.04, 3, 237, 1001)] == [0.04, 4.0, 400.0, 2000.0]
    assert place_labels([10, 12, 100]) == [10, 23, 100]
    crowded = place_labels([118.0, 118.0, 118.0])
    assert crowded == [LOWEST_LABEL - 26, LOWEST_LABEL - 13, LOWEST_LABEL]
    accepted, late, put_off = build_charts([make_sample(0), make_sample(10)], make_sample(10).at)
    assert [line.name for line in accepted.lines] == ["webhooks", "events", "AMQP", "API"]
    assert accepted.lines[0].path.count("L") == 2
    assert accepted.times == ["13:55:10", "13:57:40", "14:00:10"]
    assert not late.is_known
    assert late.goal
    assert put_off.is_known


def test_times_to_effect_are_quantiles_by_the_nearest_rank() -> None:
    assert summarize([]) is None
    assert summarize([3.0]) == EffectTimes(3.0, 3.0, 1)
    assert summarize([float(n) for n in range(1, 201)]) == EffectTimes(100.0, 198.0, 200)
    sample = make_sample(flow=replace(WELL, effect_times=EffectTimes(0.009, 12.4, 300)))
    figure = build_figures([sample])[2]
    assert (figure.value, figure.state, figure.note) == ("12.4 s", "bad", "p50 9 ms, goal 5 s")

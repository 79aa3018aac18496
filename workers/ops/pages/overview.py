"""Overview: is anything wrong, where, and what is paused."""

from collections.abc import Mapping

from workers.ops.flow.charts import build_charts, write_charts
from workers.ops.flow.figures import build_flow
from workers.ops.flow.live_values import write_flow
from workers.ops.flow.picture import draw_flow
from workers.ops.lede import build_lede
from workers.ops.overview_figures import build_figures, write_figures
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler


async def show(request: ConsoleRequest) -> Page:
    """Show alerts, pauses, figures, the flow and the charts."""
    history = request.state.sampler.history
    sample = history[-1]
    flow = build_flow(history)
    context = {
        "lede": build_lede(sample, flow),
        "figures": build_figures(history),
        "flow": flow,
        "picture": draw_flow(flow),
        "charts": build_charts(history, sample.at),
        "alerts_text": describe_alerts(sample),
    }
    return Page("Overview", "overview.html", context)


def describe_alerts(sample: Sample) -> str:
    """Say how many alerts fire, and where that was looked for."""
    alerts = sample.alerts
    if not alerts.is_known:
        return f"not known: {alerts.problem}"
    number = len(alerts.alerts)
    fire = "1 alert fires" if number == 1 else f"{number or 'no'} alerts fire"
    return f"{fire}, {alerts.origin}"


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    history = sampler.history
    flow = build_flow(history)
    return {
        "overview.lede": build_lede(sampler.current, flow),
        "overview.alerts": describe_alerts(sampler.current),
        **write_figures(build_figures(history)),
        **write_flow(flow),
        **write_charts(build_charts(history, sampler.current.at)),
    }

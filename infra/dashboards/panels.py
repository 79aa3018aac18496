"""Builds panels that all look alike: title, description, unit, legend and data source.

A query is an expression and the legend of its series. The classes are those of Grafana's
Foundation SDK (https://grafana.github.io/grafana-foundation-sdk/).
"""

from collections.abc import Sequence
from typing import TypeAlias

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
GRAPH_WIDTH, GRAPH_HEIGHT = 8, 8  # columns of 24, and rows
STAT_WIDTH, STAT_HEIGHT = 4, 4
GREEN, RED = "green", "red"

PromQuery: TypeAlias = tuple[str, str]  # expression, legend
PanelBuilder: TypeAlias = Builder[dashboard.Panel]


def graph(title: str, description: str, unit: str, *queries: PromQuery) -> PanelBuilder:
    """Build a graph over time; its legend shows the last value and the highest."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .fill_opacity(8)
        .legend(legend)
        .tooltip(tooltip)
        .height(GRAPH_HEIGHT)
        .span(GRAPH_WIDTH)
    )
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number))
    return panel


def number(
    title: str, description: str, unit: str, query: PromQuery, *, good_from: float | None = None
) -> PanelBuilder:
    """Build a single number: red from 1, or with ``good_from`` red below it."""
    steps = (
        [dashboard.Threshold(color=GREEN), dashboard.Threshold(value=1, color=RED)]
        if good_from is None
        else [dashboard.Threshold(color=RED), dashboard.Threshold(value=good_from, color=GREEN)]
    )
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .thresholds(
            builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
        )
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(query, 0))
        .height(STAT_HEIGHT)
        .span(STAT_WIDTH)
    )


def listing(
    title: str, description: str, unit: str, query: PromQuery, hidden: Sequence[str] = ()
) -> PanelBuilder:
    """Build a table of the labels and values of now, without the columns in ``hidden``."""
    columns = dashboard.DataTransformerConfig(
        id_val="organize",
        options={"excludeByName": dict.fromkeys(("Time", "__name__", *hidden), True)},
    )
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .with_target(_target(query, 0).instant().format(PromQueryFormat.TABLE))
        .with_transformation(columns)
        .height(GRAPH_HEIGHT)
        .span(GRAPH_WIDTH)
    )


def quantiles(histogram: str, labels: str, matchers: str = "") -> tuple[PromQuery, PromQuery]:
    """Write the queries for the median and the 99th percentile of a histogram, by ``labels``."""
    by = ", ".join([*labels.split(), "le"])
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split())
    rate = f"sum by ({by}) (rate({histogram}_bucket{matchers}[$__rate_interval]))"
    return (
        (f"histogram_quantile(0.5, {rate})", f"{legend} 50%".strip()),
        (f"histogram_quantile(0.99, {rate})", f"{legend} 99%".strip()),
    )


def _target(query: PromQuery, number: int) -> prometheus.Dataquery:
    expression, legend = query
    return (
        prometheus.Dataquery()
        .datasource(PROMETHEUS)
        .expr(expression)
        .legend_format(legend)
        .ref_id(chr(ord("A") + number))
    )

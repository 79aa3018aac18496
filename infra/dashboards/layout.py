"""Lays out a dashboard: rows of panels, its variables, and links to the other dashboards."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from infra.dashboards.panels import PROMETHEUS, PanelBuilder

TAG = "adrelay"
ALL = VariableOption(selected=True, text="All", value="$__all")
# The queries of the variables: label values of a metric that is there from the start.
LABELS = {
    "queue": ("adrelay_events_total", "/^(?!.*[.]dead$).*$/"),
    "platform": ("adrelay_platform_calls_total", ""),
}

Rows: TypeAlias = Mapping[str, Sequence[PanelBuilder]]  # by title


def build_dashboard(
    uid: str, title: str, description: str, rows: Rows, variables: Sequence[str] = ()
) -> Dashboard:
    """Build a dashboard from its rows; ``variables`` are names of labels to choose from."""
    made = (
        builders.Dashboard(f"Adrelay / {title}")
        .uid(f"adrelay-{uid}")
        .description(description)
        .tags([TAG])
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .with_variable(_datasource())
        .link(_links())
    )
    for name in variables:
        made.with_variable(_label(name))
    panels = 0
    for number, (row, contents) in enumerate(rows.items()):
        made.with_row(builders.Row(row).id(1000 + number))
        for panel in contents:
            panels += 1
            built = panel.build()
            built.id_val = panels
            made.with_panel(panel)
    return made.build()


def _datasource() -> Builder[VariableModel]:
    return builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _label(name: str) -> Builder[VariableModel]:
    metric, regex = LABELS[name]
    return (
        builders.QueryVariable(name)
        .label(name.capitalize())
        .datasource(PROMETHEUS)
        .query(f"label_values({metric}, {name})")
        .regex(regex)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(ALL)
    )


def _links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Adrelay")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .as_dropdown(False)
    )

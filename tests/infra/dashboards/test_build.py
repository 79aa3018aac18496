"""The dashboards: the files are what the code writes, and their panels are uniform."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units

from infra.dashboards.build import DASHBOARDS, FOLDER, encode
from infra.deploy.services.directories import CHECKOUT
from tests.infra.dashboards.expressions import dashboards, panels

PROVISIONING = FOLDER.parent / "provisioning"
UNITS = {value for name, value in vars(units).items() if name[0].isupper()}
EVERY_PANEL = [pytest.param(panel, id=f"{name} {panel['title']}") for name, panel in panels()]
EVERY_DASHBOARD = [pytest.param(made, id=name) for name, made in dashboards().items()]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_file_is_what_the_code_writes(name: str) -> None:
    assert (FOLDER / name).read_text() == encode(DASHBOARDS[name]()), (
        "run python -m infra.dashboards.build"
    )


def test_every_file_is_written_by_the_code() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(DASHBOARDS)


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_asks_the_chosen_prometheus_and_names_its_series(panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]

    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    if panel["type"] != "table":
        assert all(target["legendFormat"] for target in panel["targets"])
        assert panel["type"] == "stat" or panel["options"]["legend"]["showLegend"]


@pytest.mark.parametrize("made", EVERY_DASHBOARD)
def test_the_panels_of_a_dashboard_have_ids_and_places_of_their_own(made: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in made["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])


@pytest.mark.parametrize("made", EVERY_DASHBOARD)
def test_a_dashboard_lets_choose_what_its_queries_use(made: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in made["templating"]["list"]}
    asked = " ".join(target["expr"] for p in made["panels"] for target in p.get("targets", ()))

    assert variables["datasource"]["type"] == "datasource"
    for name in ("queue", "platform"):
        assert (name in variables) == (f"${name}" in asked)


def test_dashboards_have_titles_and_uids_of_their_own() -> None:
    made = list(dashboards().values())

    assert len({found["uid"] for found in made}) == len(made)
    assert all(found["title"].startswith("Adrelay / ") for found in made)
    assert all(found["timezone"] == "utc" for found in made)


def test_provisioning_names_the_prometheus_of_the_environment_and_a_folder() -> None:
    def load(path: Path) -> Any:
        return yaml.safe_load(path.read_text())

    [source] = load(PROVISIONING / "datasources" / "adrelay.yaml")["datasources"]
    [provider] = load(PROVISIONING / "dashboards" / "adrelay.yaml")["providers"]
    page = (CHECKOUT / "docs" / "operator.md").read_text()

    assert (source["type"], source["url"]) == ("prometheus", "$PROMETHEUS_URL")
    assert provider["type"] == "file"
    assert f"`{provider['options']['path']}`" in page

"""The dashboards have the types of Grafana's own schema (npm's ``@grafana/schema``)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.deploy.services.directories import CHECKOUT
from tests.infra.dashboards.expressions import dashboards
from tests.npm import find_node, install

SOURCES = Path(__file__).with_name("schema")
FILES = ("package.json", "package-lock.json")
FOLDER = CHECKOUT / ".services" / "test" / "grafana"
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--target", "es2022")
# JSON has the values of enumerations as texts and numbers.
MODULE = """
import type { Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}`
  : T extends number ? number
  : T extends boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
export const made: Plain<Dashboard> =
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def check(folder: Path, made: dict[str, dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    """Compile a module for each dashboard."""
    node, npm = find_node()
    install(npm, SOURCES, FILES, FOLDER)
    files = []
    for name, dashboard in made.items():
        files.append(folder / f"{name.removesuffix('.json')}.ts")
        files[-1].write_text(f"{MODULE}{json.dumps(dashboard, indent=1)};\n")
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    compiler = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    words = [node, str(compiler), *OPTIONS, "--module", "node16", "--moduleResolution", "node16"]
    return subprocess.run(  # noqa: S603 - TypeScript on our own files
        [*words, *map(str, files)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_every_dashboard_has_the_types_of_grafana(tmp_path: Path) -> None:
    checked = check(tmp_path, dashboards())

    assert checked.returncode == 0, checked.stdout[-3000:]


def test_a_wrong_type_in_a_panel_is_found(tmp_path: Path) -> None:
    [made] = [found for name, found in dashboards().items() if name == "overview.json"]
    made["panels"][1]["fieldConfig"]["defaults"]["unit"] = 7

    checked = check(tmp_path, {"wrong.json": made})

    assert checked.returncode != 0
    assert "wrong.ts" in checked.stdout

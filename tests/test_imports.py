"""The import rule: schemas <- events <- infra <- handlers <- workers, each only to its left."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy.services.directories import CHECKOUT

LAYERS = ("schemas", "events", "infra", "handlers", "workers")
MODULES = sorted(
    path.relative_to(CHECKOUT) for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py")
)


def imported(path: Path) -> Iterator[str]:
    """Name every module that a file imports, wherever in it."""
    package = path.parent.parts
    for node in ast.walk(ast.parse((CHECKOUT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{name.name}" for name in node.names)


def worker_of(module: tuple[str, ...]) -> str:
    return module[1] if len(module) > 1 else ""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_to_its_left(path: Path) -> None:
    layer = path.parts[0]
    allowed = LAYERS[: LAYERS.index(layer) + 1]

    wrong = {name for name in imported(path) if name.split(".")[0] in set(LAYERS) - set(allowed)}

    assert not wrong


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "workers"], ids=str)
def test_workers_do_not_import_each_other(path: Path) -> None:
    own = worker_of((*path.parent.parts, path.stem))

    foreign = {
        name
        for name in imported(path)
        if name.startswith("workers.") and worker_of(tuple(name.split("."))) != own
    }

    assert not foreign


def test_the_rule_sees_the_whole_house() -> None:
    assert {path.parts[0] for path in MODULES} == set(LAYERS)

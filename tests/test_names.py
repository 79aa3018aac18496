"""Every public class and type alias has a name of its own: one word means one thing."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from infra.deploy.services.directories import CHECKOUT

PACKAGES = ("schemas", "events", "infra", "handlers", "workers")
# Names that are defined more than once, with the reason.
ALLOWED: dict[str, str] = {}


def public_types(path: Path) -> Iterator[str]:
    """List the public classes and type aliases that a module defines at its top level."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case _:
                continue
        if name[0].isupper() and not name.isupper():
            yield name


def definitions() -> dict[str, list[str]]:
    """List the modules that define each name."""
    found: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            for name in public_types(path):
                found[name].append(str(path.relative_to(CHECKOUT)))
    return found


def test_a_public_class_or_type_alias_is_defined_once() -> None:
    repeated = {name: paths for name, paths in definitions().items() if len(paths) > 1}

    assert {name: paths for name, paths in repeated.items() if name not in ALLOWED} == {}
    assert not ALLOWED.keys() - repeated.keys(), "no longer repeated"


def test_classes_and_aliases_are_found() -> None:
    assert {"Event", "Platform", "Consumer", "CampaignCommand"} <= definitions().keys()

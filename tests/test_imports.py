"""The import rules: each module imports only what stands to its left.

schemas <- events <- infra <- handlers <- workers          nobody imports workers
infra, the ingress and the console: the tables below, folder by folder
handlers/<worker> imports no other handlers/<worker>
sandbox, deploy and dashboards: nobody imports them
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from infra.deploy.services.directories import CHECKOUT

LAYERS = ("schemas", "events", "infra", "handlers", "workers")
# What stands in one row does not import each other, but for the pairs in SIDEWAYS.
INFRA: tuple[str, ...] = (
    (
        "backoff background base64url env_file errors exposition log_deduplication log_levels "
        "process_start tls tls_errors version webhook_secrets"
    ),
    "redis_errors metrics logs settings span_exporter",
    "tracing",
    "security http ratelimit amqp",
    "storage",
    "platforms",
    "resources",
    "messaging",
    "web",
    "health",
    "process",
    "commands",
    "sandbox",
    "deploy",
    "dashboards",
)
INGRESS: tuple[str, ...] = (
    "http",
    "backends",
    "state",
    "context",
    "route",
    "endpoint",
    "api",
    "route_templates docs",
    "routes",
    "share supervisor",
    "app",
    "__main__",
    "child",
)
CONSOLE: tuple[str, ...] = (
    "alert assets csrf effect_times format headers log_reader page process_metrics session spark",
    "doctor flow_counts kept_form letter_form processes",
    "sampler",
    "source_rows",
    "error_page event_views frame job_rows queue_rows render state",
    "process_rows",
    "platform_rows",
    "alerts flow",
    "lede overview_figures",
    "request",
    "pause_acts",
    "authentication",
    "live login responses",
    "login_entry",
    "endpoint",
    "gate pages",
    "routes",
    "app",
    "__main__",
)
SIDEWAYS = {("redis_errors", "metrics"), ("logs", "settings"), ("version", "log_levels")}
UNIMPORTED = ("infra.sandbox", "infra.deploy", "infra.dashboards", "workers")
HANDLER_FOLDERS = ("auth", "campaigns", "sync")
MODULES = sorted(
    path.relative_to(CHECKOUT) for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py")
)


def levels(rows: tuple[str, ...]) -> Mapping[str, int]:
    """Number the folders and modules of a table, the lowest first."""
    return {name: level for level, row in enumerate(rows) for name in row.split()}


@cache
def imported(path: Path) -> frozenset[str]:
    """Name every module that a file imports, wherever in it."""
    return frozenset(_read_imports(path))


def _read_imports(path: Path) -> Iterator[str]:
    package = path.parent.parts
    for node in ast.walk(ast.parse((CHECKOUT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{name.name}" for name in node.names)


def part_of(module: str, package: str) -> str | None:
    """Name the folder or module of ``package`` that a module is in; None if it is elsewhere."""
    inside = module.removeprefix(f"{package}.")
    return inside.split(".")[0] if inside != module else None


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def upward(path: Path, package: str, rows: tuple[str, ...]) -> set[str]:
    """List the imports of a file that go upward or sideways in a table."""
    table = levels(rows)
    own = part_of(name_of(path), package)
    if own is None:
        return set()
    assert own in table, f"{own} is in no row of the table"
    return {
        name
        for name in imported(path)
        if (part := part_of(name, package)) in table
        and part != own
        and table[str(part)] >= table[own]
        and (part, own) not in SIDEWAYS
    }


def find_offences(find: Callable[[Path], set[str]], *above: str) -> dict[str, set[str]]:
    """Find the imports that a rule forbids in the files of a folder, or in all of them."""
    paths = [path for path in MODULES if path.parts[: len(above)] == above]
    assert paths
    return {str(path): found for path in paths if (found := find(path))}


def test_a_module_imports_only_to_its_left() -> None:
    def find(path: Path) -> set[str]:
        right = set(LAYERS[LAYERS.index(path.parts[0]) + 1 :])
        return {name for name in imported(path) if name.split(".")[0] in right}

    assert find_offences(find) == {}


def test_infra_imports_only_downward() -> None:
    assert find_offences(lambda path: upward(path, "infra", INFRA), "infra") == {}


def test_the_ingress_imports_only_downward() -> None:
    found = find_offences(
        lambda path: upward(path, "workers.ingress", INGRESS), "workers", "ingress"
    )
    assert found == {}


def test_the_console_imports_only_downward() -> None:
    assert find_offences(lambda path: upward(path, "workers.ops", CONSOLE), "workers", "ops") == {}


def test_the_handlers_of_a_worker_import_no_other_workers() -> None:
    def find(path: Path) -> set[str]:
        own = path.parts[1]
        if own not in HANDLER_FOLDERS:
            return set()
        parts = {name: part_of(name, "handlers") for name in imported(path)}
        return {name for name, part in parts.items() if part in HANDLER_FOLDERS and part != own}

    assert find_offences(find, "handlers") == {}


def test_nobody_imports_the_workers_the_sandbox_or_the_deployment() -> None:
    def find(path: Path) -> set[str]:
        own = name_of(path)
        return {
            name
            for name in imported(path)
            for package in UNIMPORTED
            if name.startswith(f"{package}.") and not own.startswith(package)
        }

    assert find_offences(find) == {}


def test_workers_do_not_import_each_other() -> None:
    def find(path: Path) -> set[str]:
        own = part_of(name_of(path), "workers")
        return {name for name in imported(path) if part_of(name, "workers") not in (None, own)}

    assert find_offences(find, "workers") == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {name_of(path) for path in MODULES}
    graph = {name_of(path): known & imported(path) for path in MODULES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module in done:
            return
        for name in graph[module] - {module}:
            visit(name, (*above, module))
        done.add(module)

    for module in graph:
        # A package is imported by its own modules' names alone: that is no circle.
        visit(module, ())


def test_the_rules_see_the_whole_tree() -> None:
    assert {path.parts[0] for path in MODULES} == set(LAYERS)

"""What the documentation names exists: links, make targets, modules, variables, metrics."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from handlers.webhooks import SOURCES
from infra import metrics
from infra.deploy import secrets
from infra.deploy.procfile import read_procfile
from infra.deploy.services.directories import CHECKOUT
from infra.process import PORTS
from infra.security.standard_webhooks import V1, V1A, make_webhook_secret
from infra.settings import Settings

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
WRITER = CHECKOUT / "infra" / "deploy" / "env_files.py"
FILES = re.compile(r"(?<![\w/.$])(?:tests|infra|workers|handlers|events)/[\w./]*\w(?![\w<])")
CAPITALS = re.compile(r"(?<![\w-])[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](?![\w-])")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_in(text: str) -> str:
    """Give what stands in code blocks and between backquotes."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


def anchors_of(page: Path) -> set[str]:
    """List the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading).lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def links_in(page: Path) -> Iterator[tuple[Path, str]]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


@cache
def constants() -> set[str]:
    """Name every constant of the packages, of a module or of a class."""
    found: set[str] = set()
    for package in ("schemas", "events", "infra", "handlers", "workers"):
        for path in (CHECKOUT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Name | ast.Constant):
                    name = node.id if isinstance(node, ast.Name) else node.value
                    if isinstance(name, str) and name.isupper():
                        found.add(name)
    return found


@cache
def variables() -> set[str]:
    """Name every variable that the settings, the writer of .services/env or the tests know."""
    written = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', WRITER.read_text()))
    tests = set(re.findall(r"\bADRELAY_[A-Z_]+", (CHECKOUT / "tests" / "services.py").read_text()))
    return {*map(str.upper, Settings.model_fields), *secrets.make_secrets(), *written, *tests}


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in links_in(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors_of(target), f"{target}#{anchor}"


@pages
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z0-9-]+)", code_in(page.read_text()))) <= targets


@pages
def test_every_module_that_is_run_exists(page: Path) -> None:
    for module in re.findall(r"python -m ([a-z_.]+[a-z_])", code_in(page.read_text())):
        assert importlib.util.find_spec(module), module


@pages
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = FILES.findall(code_in(page.read_text()))

    assert [name for name in named if not (CHECKOUT / name).exists()] == []


@pages
def test_every_test_that_is_named_exists(page: Path) -> None:
    for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text()):
        assert f"def {name}(" in (CHECKOUT / path).read_text(), name


@pages
def test_every_variable_and_constant_exists(page: Path) -> None:
    named = set(CAPITALS.findall(code_in(page.read_text())))

    assert named - variables() - constants() == set()


@pages
def test_every_metric_exists(page: Path) -> None:
    assert metrics.EVENTS_TOTAL  # the registry is filled
    known = {metric.name for metric in REGISTRY.collect()}
    named = set(re.findall(r"(?<![\w:])adrelay_[a-z_]+", page.read_text()))

    assert {name for name in named if name.removesuffix("_total") not in known} == set()


def test_webhooks_that_are_signed_as_the_page_says_are_genuine() -> None:
    page = (CHECKOUT / "docs" / "webhook-sender.md").read_text()
    signing: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, signing)  # noqa: S102 - our own page
    body, now = '{"news": "ü"}'.encode(), datetime.now(UTC)
    moment = int(now.timestamp())
    shared, private = make_webhook_secret(V1), make_webhook_secret(V1A)

    SOURCES["claude"].verify(signing["claude_headers"]("s3cret", body), body, ["s3cret"], now)
    for source, secret in (("chatgpt", shared), ("gemini", private)):
        headers = signing[f"{source}_headers"](secret, "msg_1", moment, body)
        assert SOURCES[source].verify(headers, body, [secret], now).delivery == "msg_1"


def test_the_operators_page_has_every_line_of_the_procfile() -> None:
    page = (CHECKOUT / "docs" / "operator.md").read_text()
    found = re.findall(r"^\| `(\w+): (.*?)` \|.*?\| *(\d*) *\|", page, re.MULTILINE)
    rows = {name: (command, port) for name, command, port in found}

    for name, command in read_procfile().items():
        assert rows.get(name) == (command, str(PORTS.get(name, ""))), f"add the row of {name}"


def test_every_page_is_looked_at() -> None:
    assert {page.name for page in PAGES} >= {
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "upstream-publisher.md",
        "webhook-sender.md",
        "operator.md",
        "platform-accounts.md",
        "security.md",
        "developer.md",
    }


def metric_rows() -> dict[str, tuple[set[str], str]]:
    """Read the table of metrics: labels, and type with description, by name."""
    _, _, page = (CHECKOUT / "docs" / "operator.md").read_text().partition("## The metrics")
    rows = re.findall(r"^\| `([a-z_]+)(?:\{(.*?)\})?` \| (.*) \|$", page, re.MULTILINE)
    return {name: (set(filter(None, labels.split(", "))), told) for name, labels, told in rows}


def test_the_table_of_metrics_is_complete_and_says_what_they_say_themselves() -> None:
    assert metrics.EVENTS_TOTAL  # the registry is filled
    families = [f for f in REGISTRY.collect() if f.name.startswith(("adrelay_", "messaging_"))]
    wanted = {
        f"{f.name}_total" if f.type == "counter" else f.name: f"{f.type} | {f.documentation}"
        for f in families
    }

    assert {name: told for name, (_, told) in metric_rows().items()} == wanted


def test_the_table_of_metrics_has_their_labels() -> None:
    metrics.Meters("metrics.record")
    rows = metric_rows()
    for family in REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples if name in rows else ():
            assert {*sample.labels} - {"le"} == rows[name][0], name

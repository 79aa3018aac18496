"""Each alert has a page that says what it means and what to do; its commands exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from infra.commands.cli import app
from infra.deploy.services.directories import CHECKOUT
from tests.infra.dashboards.expressions import alerts
from tests.test_docs import code_in

RUNBOOKS = CHECKOUT / "docs" / "runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
HEADINGS = ["Meaning", "First look", "Mend", "Verify"]
COMMAND = re.compile(r"(?:^|[`\s])(?:\.venv/bin/)?(adrelay [a-z][^`\n#]*)")
TARGET = re.compile(r"`make ([a-z0-9-]+)`")


def is_valid(command: str) -> bool:
    """Check that a command's groups, its name and its options exist."""
    words = command.split()[1:]
    found: Any = typer.main.get_command(app)
    while hasattr(found, "commands") and words:
        found = found.commands.get(words.pop(0))
    if found is None:
        return False
    options = {name for parameter in found.params for name in parameter.opts}
    named = [word.partition("=")[0] for word in words if word.startswith("--")]
    return not hasattr(found, "commands") and set(named) <= options


def targets() -> set[str]:
    makefile = (CHECKOUT / "Makefile").read_text()
    return set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))


def texts() -> Iterator[Any]:
    """List what operators read: pages, and descriptions of alerts."""
    yield from (pytest.param(code_in(page.read_text()), id=page.stem) for page in PAGES)
    for rule in alerts():
        described = " ".join(f"`{code}`" for code in code_of(rule["annotations"]["description"]))
        yield pytest.param(described, id=f"alert {rule['alert']}")


def code_of(description: str) -> list[str]:
    return re.findall(r"`([^`]+)`", description)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in PAGES} == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_four_headings(page: Path) -> None:
    text = page.read_text()

    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^#+ .+$", text, flags=re.MULTILINE)[2:])


@pytest.mark.parametrize("text", [*texts()])
def test_the_commands_that_operators_read_exist(text: str) -> None:
    assert [found for found in COMMAND.findall(text) if not is_valid(found)] == []
    assert set(TARGET.findall(text)) <= targets()


def test_a_command_that_does_not_exist_is_found() -> None:
    assert is_valid("adrelay dead-letters replay --queue metrics.record")
    assert not is_valid("adrelay dead-letters mend 1")
    assert not is_valid("adrelay dead-letters replay --everything")
    assert not is_valid("adrelay dead-letters")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_run_next_and_where_to_read_on(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert annotations["summary"]
    assert any(re.match(r"adrelay |make ", code) for code in code_of(annotations["description"]))
    assert annotations["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_the_operators_page_lists_every_alert_with_its_severities() -> None:
    page = (CHECKOUT / "docs" / "operator.md").read_text()
    listed = dict(
        re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([a-z, ]+) \|", page, re.MULTILINE)
    )
    severities: dict[str, list[str]] = {}
    for rule in alerts():
        known = severities.setdefault(rule["alert"], [])
        known.extend({rule["labels"]["severity"]} - set(known))

    assert listed == {name: ", ".join(found) for name, found in severities.items()}

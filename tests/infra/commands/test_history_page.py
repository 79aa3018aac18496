"""The commands about the event log that docs/operator.md shows do what it says."""

import re
import shlex
from pathlib import Path

from infra.deploy.services.directories import CHECKOUT
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.commands.test_history import publish
from tests.infra.ledger import report
from tests.services import environment

PAGE = (CHECKOUT / "docs" / "operator.md").read_text()
(SECTION,) = re.findall(r"^## The event log\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
LINES = re.findall(r"^\.venv/bin/adrelay (history .*?)(?:\s+#.*)?$", SECTION, re.MULTILINE)


async def test_every_example_ends_well(
    settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    await publish(resources, *map(report, range(1, 4)))
    assert {line.split()[1] for line in LINES} == {"tail", "grep", "show", "export", "replay"}
    for line in LINES:
        words = [str(tmp_path / w) if w == "events.jsonl" else w for w in shlex.split(line)]
        done = run_module("infra.commands", *words, env=environment(settings))
        assert done.returncode == 0, (line, done.stderr)
        assert "Traceback" not in done.stderr
    assert (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 3

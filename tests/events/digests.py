"""The recorded digests of the examples, as the inbox stores them for handled events.

A changed digest would turn every repeated event into an event with a reused id, so recorded
digests never change; new examples are added (``python -m tests.events.snapshots``).
"""

import json
from pathlib import Path

from events import EVENT_TYPES
from events.envelope import decode
from infra.messaging.digest import content_digest

FILE = Path(__file__).parent / "digests.json"
FIXTURES = Path(__file__).parent / "fixtures"


def recorded() -> dict[str, str]:
    """Read the recorded digests, by event type and name of the example."""
    found: dict[str, str] = json.loads(FILE.read_text())
    return found


def current() -> dict[str, str]:
    """Compute the digests of all examples."""
    return {
        f"{path.stem} {name}": content_digest(
            decode(EVENT_TYPES[path.stem], json.dumps(example).encode())
        ).hex
        for path in sorted(FIXTURES.glob("*.json"))
        for name, example in json.loads(path.read_text()).items()
    }


def record() -> None:
    """Add the digests of new examples; recorded ones are kept."""
    known = recorded() if FILE.exists() else {}
    FILE.write_text(json.dumps({**current(), **known}, indent=1, sort_keys=True) + "\n")

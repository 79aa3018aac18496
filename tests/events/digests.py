"""The recorded digests of the examples, as the inbox stores them for handled events.

A changed digest would turn every repeated event into an event with a reused id, so recorded
digests never change; new examples are added (``python -m tests.events.snapshots``). Only a type
that was in no release gets new ones (``--unshipped``): no inbox holds them.
"""

import json
from collections.abc import Collection
from pathlib import Path

from events import EVENT_TYPES
from events.envelope import decode
from infra.messaging.digest import content_digest

FILE = Path(__file__).parent / "digests.json"
FIXTURES = Path(__file__).parent / "fixtures"


def recorded(file: Path = FILE) -> dict[str, str]:
    """Read the recorded digests, by event type and name of the example."""
    found: dict[str, str] = json.loads(file.read_text())
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


def record(file: Path = FILE, unshipped: Collection[str] = ()) -> None:
    """Add the digests of new examples; recorded ones are kept, but for ``unshipped`` types."""
    found = recorded(file) if file.exists() else {}
    known = {name: hex_ for name, hex_ in found.items() if name.split()[0] not in unshipped}
    file.write_text(json.dumps({**current(), **known}, indent=1, sort_keys=True) + "\n")

"""The recorded schemas of every event type: ``python -m tests.events.snapshots`` records them.

It records new types and compatible edits, and rejects a breaking edit (exit status 1), which
needs a new version beside the old one. ``--unshipped TYPE`` overwrites the schema and the digests
of a type that was in no release yet.
"""

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from events import EVENT_TYPES
from events.envelope import Event
from tests.events import digests
from tests.events.compatibility import breaks

PROSE = frozenset({"title", "description", "examples"})
FOLDER = Path(__file__).parent / "schemas"


def schema_of(cls: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema of an event type with the field names of the wire.

    Titles and descriptions are left out; they may change at any time.
    """
    bare: dict[str, Any] = _without_prose(cls.model_json_schema(by_alias=False))
    return bare


def _without_prose(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_prose(element) for element in part]
    if not isinstance(part, dict):
        return part
    # Their keys are names of fields and models, not keywords.
    named = {"properties", "$defs"} & part.keys()
    kept = {key: value for key, value in part.items() if key not in PROSE}
    return {
        key: {name: _without_prose(one) for name, one in value.items()}
        if key in named
        else _without_prose(value)
        for key, value in kept.items()
    }


def recorded(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Read the recorded schemas, by event type."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def broken(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """List what each recorded type has lost, by event type; compatible types are left out."""
    found = {
        kind: breaks(schema, new[kind]) if kind in new else ["the whole type is gone"]
        for kind, schema in old.items()
    }
    return {kind: lost for kind, lost in found.items() if lost}


def record(
    types: Mapping[str, type[Event]], folder: Path = FOLDER, unshipped: Collection[str] = ()
) -> dict[str, list[str]]:
    """Write the schemas of ``types`` unless one is broken; returns what is broken."""
    current = {kind: schema_of(cls) for kind, cls in types.items()}
    kept = {kind: schema for kind, schema in recorded(folder).items() if kind not in unshipped}
    lost = broken(kept, current)
    if not lost:
        for kind, schema in current.items():
            text = json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False)
            (folder / f"{kind}.json").write_text(text + "\n")
        for kind in set(unshipped) - current.keys():
            (folder / f"{kind}.json").unlink(missing_ok=True)
    return lost


def main(arguments: Sequence[str]) -> int:
    """Record the schemas; returns the exit status."""
    parser = argparse.ArgumentParser("python -m tests.events.snapshots", description=__doc__)
    parser.add_argument("--unshipped", nargs="*", default=(), metavar="TYPE")
    unshipped = parser.parse_args(arguments).unshipped
    lost = record(EVENT_TYPES, unshipped=unshipped)
    for kind, sentences in lost.items():
        for sentence in sentences:
            sys.stderr.write(f"{kind}: {sentence}\n")
    if lost:
        sys.stderr.write("nothing was recorded: a breaking edit is a new version (.v2)\n")
    else:
        digests.record(unshipped=unshipped)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

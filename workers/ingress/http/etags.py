"""Entity tags: a campaign's is its version in quotes (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from workers.ingress.http.errors import HttpError

# Empty elements of a list count as none (RFC 9110, section 5.6.1.2).
TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
LIST = re.compile(rf"[\s,]*{TAG.pattern}(?:\s*,[\s,]*{TAG.pattern})*[\s,]*")
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Tags:
    """What a header names: anything (``*``), or versions, of which some by a weak tag."""

    any: bool = False
    strong: frozenset[int] = frozenset()
    weak: frozenset[int] = frozenset()

    def allows(self, version: int) -> bool:
        """Whether a version is named, by strong comparison."""
        return self.any or version in self.strong


@dataclass(frozen=True, slots=True)
class IfMatch:
    """What ``If-Match`` and ``If-None-Match`` demand of the campaign that is to change."""

    match: Tags
    none_match: Tags

    def allows(self, version: int) -> bool:
        """Whether a change of this version is wanted: strong comparison, then weak."""
        return self.match.allows(version) and not _is_named(version, self.none_match)

    @property
    def versions(self) -> dict[str, Any]:
        """The fields of a command by which the worker checks the version once more."""
        versions = tuple(sorted(self.match.strong))
        if self.match.any:
            return {}
        if len(versions) == 1:
            return {"expected_version": versions[0]}
        return {"expected_versions": versions}


def etag(version: int) -> str:
    """Write the tag of a version."""
    return f'"{version}"'


def is_not_modified(request: web.Request, version: int) -> bool:
    """Tell whether ``If-None-Match`` names this version (weak comparison) or anything."""
    return _is_named(version, _read(request, "If-None-Match") or Tags())


def parse_if_match(request: web.Request, *, required: bool) -> IfMatch:
    """Read ``If-Match`` (strong comparison: a weak tag matches nothing) and ``If-None-Match``.

    Raises an ``HttpError``: 428 when ``If-Match`` is required and missing (RFC 6585, section 3),
    412 when it names nothing that a campaign's tag could be.
    """
    match = _read(request, "If-Match")
    if match is None and required:
        raise HttpError(
            428, "PRECONDITION_REQUIRED", "If-Match must name the version that you have seen."
        )
    if match is not None and not match.any and not match.strong:
        raise precondition_failed()
    return IfMatch(match or Tags(any=True), _read(request, "If-None-Match") or Tags())


def precondition_failed() -> HttpError:
    """Refuse with 412: the campaign is not what the client has seen."""
    return HttpError(412, "VERSION_CONFLICT", "The campaign has changed since you have read it.")


def _is_named(version: int, tags: Tags) -> bool:
    return tags.any or version in tags.strong or version in tags.weak


def _read(request: web.Request, name: str) -> Tags | None:
    """Read a header, on one line or several; None without it, no tags when it is malformed."""
    lines = request.headers.getall(name, ())
    if not lines:
        return None
    text = ", ".join(lines).strip()
    if text == "*":
        return Tags(any=True)
    if not LIST.fullmatch(text):
        return Tags()
    found = [(bool(weak), tag) for weak, tag in TAG.findall(text) if VERSION.fullmatch(tag)]
    return Tags(
        strong=frozenset(int(tag) for weak, tag in found if not weak),
        weak=frozenset(int(tag) for weak, tag in found if weak),
    )

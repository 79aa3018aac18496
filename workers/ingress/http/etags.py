"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13.1).

The tag of a campaign is its version in quotes.
"""

import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from infra.web.errors import HttpError

# Empty list elements are ignored (RFC 9110, section 5.6.1.2).
TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
LIST = re.compile(rf"[\s,]*{TAG.pattern}(?:\s*,[\s,]*{TAG.pattern})*[\s,]*")
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags in a header: any (``*``), or versions by strong and by weak tags."""

    any: bool = False
    strong: frozenset[int] = frozenset()
    weak: frozenset[int] = frozenset()

    def allows(self, version: int) -> bool:
        """Whether a version matches by strong comparison."""
        return self.any or version in self.strong


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The preconditions of a write: ``If-Match`` and ``If-None-Match``."""

    match: Tags
    none_match: Tags

    def allows(self, version: int) -> bool:
        """Whether this version may be changed: strong, then weak comparison."""
        return self.match.allows(version) and not _matches_weakly(version, self.none_match)

    @property
    def versions(self) -> dict[str, Any]:
        """The fields of a command by which the worker checks the version again."""
        versions = tuple(sorted(self.match.strong))
        if self.match.any:
            return {}
        if len(versions) == 1:
            return {"expected_version": versions[0]}
        return {"expected_versions": versions}


def etag(version: int) -> str:
    """Build the tag of a version."""
    return f'"{version}"'


def is_not_modified(request: web.Request, version: int) -> bool:
    """Whether ``If-None-Match`` matches this version (weak comparison)."""
    return _matches_weakly(version, _parse_tags(request, "If-None-Match") or Tags())


def parse_if_match(request: web.Request, *, required: bool) -> IfMatch:
    """Parse ``If-Match`` (strong comparison: a weak tag matches nothing) and ``If-None-Match``.

    Raises an ``HttpError``: 428 when ``If-Match`` is required and missing (RFC 6585, section 3),
    412 when it holds no tag that a campaign can have.
    """
    match = _parse_tags(request, "If-Match")
    if match is None and required:
        raise HttpError(
            428,
            "PRECONDITION_REQUIRED",
            "If-Match must name the version that you have read.",
        )
    if match is not None and not match.any and not match.strong:
        raise precondition_failed()
    return IfMatch(match or Tags(any=True), _parse_tags(request, "If-None-Match") or Tags())


def precondition_failed() -> HttpError:
    """Build a 412: the campaign has another version than the client expects."""
    return HttpError(412, "VERSION_CONFLICT", "The campaign has changed since you have read it.")


def _matches_weakly(version: int, tags: Tags) -> bool:
    return tags.any or version in tags.strong or version in tags.weak


def _parse_tags(request: web.Request, name: str) -> Tags | None:
    """Parse a header on one or several lines; None without it, no tags if malformed."""
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

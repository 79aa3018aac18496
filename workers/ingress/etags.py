"""Entity tags: a campaign's is its version in quotes (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from dataclasses import dataclass

from aiohttp import web

from workers.ingress.refusals import Refusal

TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What ``If-Match`` demands: any version, or one of ``versions`` (perhaps none)."""

    any: bool
    versions: tuple[int, ...] = ()

    def allows(self, version: int) -> bool:
        """Whether a change of this version is wanted."""
        return self.any or version in self.versions

    @property
    def version(self) -> int | None:
        """The version to demand of the worker when the current one is not known here."""
        return None if self.any else max(self.versions)


def etag(version: int) -> str:
    """Write the tag of a version."""
    return f'"{version}"'


def is_unchanged(request: web.Request, version: int) -> bool:
    """Tell whether ``If-None-Match`` names this version (weak comparison) or anything."""
    header = _header(request, "If-None-Match")
    if header is None:
        return False
    return header == "*" or str(version) in [tag for _, tag in TAG.findall(header)]


def expectation(request: web.Request, *, required: bool) -> Expectation:
    """Read ``If-Match`` (strong comparison: a weak tag matches nothing).

    Raises a ``Refusal``: 428 when it is required and missing (RFC 6585, section 3), 412 when
    it names nothing that a campaign's tag could be.
    """
    header = _header(request, "If-Match")
    if header is None and required:
        raise Refusal(
            428, "PRECONDITION_REQUIRED", "If-Match must name the version that you have seen."
        )
    if header is None or header == "*":
        return Expectation(any=True)
    tags = [tag for weak, tag in TAG.findall(header) if not weak]
    versions = tuple(int(tag) for tag in tags if VERSION.fullmatch(tag))
    if not versions:
        raise stale()
    return Expectation(any=False, versions=versions)


def stale() -> Refusal:
    """Refuse with 412: the campaign is not what the client has seen."""
    return Refusal(412, "VERSION_CONFLICT", "The campaign has changed since you have read it.")


def _header(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, ())
    return ", ".join(values).strip() if values else None

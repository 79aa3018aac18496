"""One runbook: what an alert means and what to do, as ``docs/runbooks`` has it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from infra.version import ROOT
from infra.web.errors import HttpError
from workers.ops.alert import RUNBOOK_NAME
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest

FOLDER = ROOT / "docs" / "runbooks"
ABSENT = "There is no such runbook here. A checkout has them in docs/runbooks."
NOT_FOUND = 404
ITEM = re.compile(r"(?:-|\d+\.) ")
NEXT_ITEM = re.compile(r"\n(?=(?:-|\d+\.) )")
HEADING, FENCE = "## ", "```"
INLINE = re.compile(r"`([^`]+)`|\[([^\]]+)\]\(([^)\s]+)\)|\*([^*]+)\*")


class InlinePart(NamedTuple):
    """A part of a line: text, code, stress or link."""

    kind: str
    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class RunbookBlock:
    """A heading or a block of code with its text, else paragraphs or items of a list."""

    kind: str
    text: str = ""
    items: Sequence[Sequence[InlinePart]] = ()


async def show(request: ConsoleRequest) -> Page:
    """Show the page; 404 for a name that no runbook has."""
    name = request.web.match_info["name"]
    blocks = read_runbook(name) if RUNBOOK_NAME.fullmatch(name) else None
    if blocks is None:
        raise HttpError(NOT_FOUND, "NOT_FOUND", ABSENT)
    return Page(name, "runbook.html", {"name": name, "blocks": blocks})


@cache
def read_runbook(name: str, folder: Path = FOLDER) -> Sequence[RunbookBlock] | None:
    """Read and parse a runbook once; None where there is none."""
    try:
        text = (folder / f"{name}.md").read_text()
    except OSError:
        return None
    return tuple(parse_runbook(text))


def parse_runbook(text: str) -> Iterator[RunbookBlock]:
    """Parse the part of Markdown that runbooks use."""
    for index, part in enumerate(text.split(FENCE)):
        if index % 2:
            yield RunbookBlock("code", part.partition("\n")[2].rstrip())
            continue
        for paragraph in filter(None, map(str.strip, part.split("\n\n"))):
            if paragraph.startswith("# "):
                continue  # the title of the page
            yield _parse_paragraph(paragraph)


def _parse_paragraph(paragraph: str) -> RunbookBlock:
    if paragraph.startswith(HEADING):
        return RunbookBlock("heading", paragraph.removeprefix(HEADING))
    if paragraph.startswith("|"):  # a table, as it is written
        return RunbookBlock("code", paragraph)
    items = [ITEM.sub("", item, count=1) for item in re.split(NEXT_ITEM, paragraph)]
    kind = "list" if ITEM.match(paragraph) else "text"
    return RunbookBlock(kind, items=[tuple(_split_inline(item)) for item in items])


def _split_inline(paragraph: str) -> Iterator[InlinePart]:
    at, text = 0, " ".join(paragraph.split())
    for found in INLINE.finditer(text):
        yield InlinePart("text", text[at : found.start()])
        code, label, target, stressed = found.groups()
        if code is not None:
            yield InlinePart("code", code)
        elif label is not None:
            yield InlinePart("link", label.strip("`"), _find_link(target))
        else:
            yield InlinePart("stress", stressed)
        at = found.end()
    yield InlinePart("text", text[at:])


def _find_link(target: str) -> str:
    """Link to another runbook; other pages of the documentation are not served."""
    name = target.removesuffix(".md")
    return f"/runbooks/{name}" if RUNBOOK_NAME.fullmatch(name) else ""

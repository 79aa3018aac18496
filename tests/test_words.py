"""The words that CONTRIBUTING.md lists stand in no name, docstring, comment or page."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from infra.deploy.services.directories import CHECKOUT

RULES = (CHECKOUT / "CONTRIBUTING.md").read_text()
ENDINGS = "(?:s|es|d|ed|r|rs|ing)?"
# The words themselves; and a name of pytest's own (``config.stash``).
EXEMPT = {"CONTRIBUTING.md", "tests/test_words.py", "tests/chaos/report.py"}


def listed(title: str) -> list[str]:
    """Read one list of words: what stands in backquotes, outside of parentheses."""
    found = re.search(rf"^- \*\*{title}\*\*(.*?)(?=^- |\n\n|\Z)", RULES, re.MULTILINE | re.DOTALL)
    assert found, f"no list {title!r} in CONTRIBUTING.md"
    return re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", found[1]))


EMPTY_NAMES = frozenset(listed("Names nothing"))
UNUSED = listed("Not used")
PATTERN = re.compile("|".join(rf"\b{word}{ENDINGS}\b(?! than)" for word in UNUSED), re.IGNORECASE)


def tracked(suffix: str) -> list[Path]:
    """List the files of the repository with a suffix."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"]
    listing = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)  # noqa: S603 - constants
    paths = (Path(line) for line in listing.stdout.splitlines())
    return sorted(path for path in paths if (CHECKOUT / path).is_file())


MODULES = [path for path in tracked(".py") if str(path) not in EXEMPT]
PAGES = [path for path in tracked(".md") if str(path) not in EXEMPT]


@cache  # most texts are names that come often
def find_words(text: str) -> list[re.Match[str]]:
    """Find words of the list."""
    return list(PATTERN.finditer(text))


@cache
def words_of(name: str) -> str:
    """Write a name as words: ``parse_URLPath`` as ``parse URL Path``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).strip()


def prose_of(source: str) -> Iterator[tuple[int, str]]:
    """List names, comments and docstrings, with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], words_of(token.string)
        elif token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                start = node.body[0].lineno
                yield from enumerate(re.sub("[ \n]+", " ", docstring).splitlines(), start)


def defined_in(source: str) -> Iterator[str]:
    """List the classes and functions that a module defines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_no_name_docstring_or_comment_has_a_word_of_the_list() -> None:
    found = [
        f"{path}:{line}: {match[0]}"
        for path in MODULES
        for line, text in prose_of((CHECKOUT / path).read_text())
        for match in find_words(text)
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_no_page_has_a_word_of_the_list(path: Path) -> None:
    text = re.sub(r"\s+", " ", (CHECKOUT / path).read_text())

    assert not PATTERN.findall(text)


def test_no_module_class_or_function_has_a_name_that_says_nothing() -> None:
    named = {str(path): [*path.with_suffix("").parts] for path in MODULES}
    for path in MODULES:
        if path.parts[0] != "tests":
            named[str(path)] += defined_in((CHECKOUT / path).read_text())

    found = [
        f"{path}: {name}"
        for path, names in named.items()
        for name in names
        if EMPTY_NAMES.intersection(words_of(name).lower().split())
    ]
    assert not found, "\n".join(found)


def test_the_lists_are_read() -> None:
    assert {"utils", "helpers", "manager"} <= EMPTY_NAMES
    assert {"wish", "of ours", "no more"} <= set(UNUSED)
    assert PATTERN.search("it is no more")
    assert not PATTERN.search("no more than five")
    assert PATTERN.search(words_of("OwnedWish"))
    assert PATTERN.search("wishes")

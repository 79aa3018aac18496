"""A world whose platforms are books."""

from dataclasses import replace

import pytest

from infra.resources import Resources
from tests.handlers.platform_state import Book


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def world(resources: Resources, book: Book) -> Resources:
    """What a sync worker holds, with a book for a platform."""
    return replace(resources, platforms={"claude": book, "gemini": Book()})

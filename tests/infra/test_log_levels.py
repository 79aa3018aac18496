"""The levels of single loggers: what is accepted, and what stays at INFO whatever is asked for."""

import logging
from collections.abc import Iterator

import pytest

from infra.log_levels import PINNED, QUIET, apply_log_levels, parse_log_levels

TOUCHED = (*PINNED, *QUIET, "infra.messaging", "aiormq.channel")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in TOUCHED}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_pairs_are_parsed_whatever_their_case_and_blanks() -> None:
    found = parse_log_levels(" infra.messaging = DEBUG, aiormq=warning,, aiohttp.access=info ,")

    assert found == {
        "infra.messaging": logging.DEBUG,
        "aiormq": logging.WARNING,
        "aiohttp.access": logging.INFO,
    }


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("infra", "pair 1 must be logger=level"),
        ("infra=loud", "debug, info, warning, error"),
        ("infra=debug,infra=info", "pair 2 names a logger twice"),
        ("infra.mesaging=debug", "does not exist"),
        ("nothing_of_that_name=debug", "does not exist"),
        ("=debug", "no name of a module"),
        ("infra..messaging=debug", "no name of a module"),
        ("../etc=debug", "no name of a module"),
        ("aiormq=debug", "must not set aiormq below info"),
        ("sqlalchemy.engine=debug", "must not set sqlalchemy below info"),
    ],
)
def test_what_is_wrong_is_said_with_the_place_of_the_pair(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse_log_levels(text)


def test_one_logger_is_louder_than_the_others() -> None:
    apply_log_levels(logging.WARNING, parse_log_levels("infra.messaging=debug"))

    assert logging.getLogger("infra.messaging.consumer").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("infra.storage").level


@pytest.mark.parametrize("name", PINNED)
def test_what_writes_secrets_at_debug_never_does(name: str) -> None:
    apply_log_levels(logging.DEBUG, {name: logging.DEBUG})

    assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    assert not logging.getLogger(f"{name}.child").isEnabledFor(logging.DEBUG)


def test_a_quiet_library_speaks_at_info_where_it_is_asked_to() -> None:
    apply_log_levels(logging.DEBUG, {})
    assert not logging.getLogger("aiormq").isEnabledFor(logging.INFO)

    apply_log_levels(logging.DEBUG, parse_log_levels("aiormq=info"))
    assert logging.getLogger("aiormq").isEnabledFor(logging.INFO)

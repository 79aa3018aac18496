"""What an answer means, as a table."""

from datetime import UTC, datetime

import pytest

from infra.errors import Transient
from infra.http import Answer, NoAnswer
from infra.platforms import PLATFORMS, Refused
from infra.platforms.verdict import Gone, Patience, judge
from infra.sandbox.world import TONGUES
from schemas.base import Platform

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def answer(name: Platform, status: int, **headers: str) -> Answer:
    body = str(TONGUES[name].fault(status, "SOME_CODE", "some words")).replace("'", '"')
    return Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, body.encode())


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, type(None)),
        (201, type(None)),
        (204, type(None)),
        (400, Refused),
        (401, Patience),
        (403, Refused),
        (404, Gone),
        (408, Transient),
        (409, Transient),
        (410, Gone),
        (422, Refused),
        (425, Transient),
        (429, Patience),
        (451, Refused),
    ],
)
def test_each_status_has_its_meaning(name: Platform, status: int, meaning: type) -> None:
    assert type(judge(PLATFORMS[name], answer(name, status), NOW)) is meaning


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [100, 199, 300, 302, 304, 500, 502, 503, 504, 599])
def test_what_no_api_should_answer_speaks_against_the_platform(name: Platform, status: int) -> None:
    with pytest.raises(NoAnswer, match=str(status)):
        judge(PLATFORMS[name], answer(name, status), NOW)


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_in_foreign_words_is_no_refusal(name: Platform, status: int) -> None:
    with pytest.raises(NoAnswer, match="malformed"):
        judge(PLATFORMS[name], Answer(status, {}, b"<html>not found</html>"), NOW)


@pytest.mark.parametrize(
    ("value", "seconds"), [("17", 17), ("0", 1), ("99999", 900), ("nonsense", 5)]
)
def test_patience_is_as_long_as_asked_for_within_reason(value: str, seconds: float) -> None:
    verdict = judge(PLATFORMS["claude"], answer("claude", 429, Retry_After=value), NOW)
    assert isinstance(verdict, Patience)
    assert verdict.seconds == seconds


def test_a_refusal_is_printable_and_short() -> None:
    refused = Refused("x" * 1000, "a\x00b\n" + "y" * 1000)
    assert (len(refused.code), refused.message[:5], len(refused.message)) == (100, "a b y", 500)

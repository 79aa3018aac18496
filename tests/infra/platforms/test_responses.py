"""What an answer means, as a table."""

from datetime import UTC, datetime

import pytest

from infra.errors import Transient
from infra.http.client import Answer, NoAnswer
from infra.platforms import PLATFORMS, Refused
from infra.platforms.base import CallWaits
from infra.platforms.responses import Gone, Patience, judge
from infra.sandbox.app import TONGUES
from schemas.types import Platform

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


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [302, 400, 403, 422, 451, 500, 502, 503, 504])
def test_what_asks_to_come_again_is_no_refusal(name: Platform, status: int) -> None:
    verdict = judge(PLATFORMS[name], answer(name, status, Retry_After="17"), NOW)
    assert isinstance(verdict, Patience)
    assert (verdict.seconds, verdict.refusal) == (17, status < 500)


@pytest.mark.parametrize("status", [408, 409, 425])
def test_a_call_that_comes_too_early_waits_alone(status: int) -> None:
    verdict = judge(PLATFORMS["claude"], answer("claude", status, Retry_After="17"), NOW)
    assert isinstance(verdict, CallWaits)
    assert verdict.seconds == 17


@pytest.mark.parametrize(
    ("status", "meaning"), [(400, Refused), (403, Refused), (404, Gone), (409, Transient)]
)
def test_a_retry_after_that_makes_no_sense_changes_nothing(status: int, meaning: type) -> None:
    verdict = judge(PLATFORMS["claude"], answer("claude", status, Retry_After="soon"), NOW)
    assert type(verdict) is meaning


def test_what_is_gone_is_gone_whatever_it_asks_for() -> None:
    verdict = judge(PLATFORMS["claude"], answer("claude", 404, Retry_After="17"), NOW)
    assert isinstance(verdict, Gone)


def test_a_refusal_is_printable_and_short() -> None:
    refused = Refused("x" * 1000, "a\x00b\n" + "y" * 1000)
    assert (len(refused.code), refused.message[:5], len(refused.message)) == (100, "a b y", 500)

"""What an answer means, as a table."""

from datetime import UTC, datetime

import pytest

from infra.errors import Transient
from infra.http.client import HttpFailure, HttpResponse
from infra.platforms import PLATFORMS, Rejected
from infra.platforms.base import RequestSnooze
from infra.platforms.responses import NotFound, RetryLater, classify_response
from infra.sandbox.app import DIALECTS
from schemas.types import Platform

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def answer(name: Platform, status: int, **headers: str) -> HttpResponse:
    body = str(DIALECTS[name].fault(status, "SOME_CODE", "some words")).replace("'", '"')
    return HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, body.encode())


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, type(None)),
        (201, type(None)),
        (204, type(None)),
        (400, Rejected),
        (401, RetryLater),
        (403, Rejected),
        (404, NotFound),
        (408, Transient),
        (409, Transient),
        (410, NotFound),
        (422, Rejected),
        (425, Transient),
        (429, RetryLater),
        (451, Rejected),
    ],
)
def test_each_status_has_its_meaning(name: Platform, status: int, meaning: type) -> None:
    assert type(classify_response(PLATFORMS[name], answer(name, status), NOW)) is meaning


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [100, 199, 300, 302, 304, 500, 502, 503, 504, 599])
def test_what_no_api_should_answer_speaks_against_the_platform(name: Platform, status: int) -> None:
    with pytest.raises(HttpFailure, match=str(status)):
        classify_response(PLATFORMS[name], answer(name, status), NOW)


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_in_foreign_words_is_no_refusal(name: Platform, status: int) -> None:
    with pytest.raises(HttpFailure, match="malformed"):
        classify_response(PLATFORMS[name], HttpResponse(status, {}, b"<html>not found</html>"), NOW)


@pytest.mark.parametrize(
    ("value", "seconds"), [("17", 17), ("0", 1), ("99999", 900), ("nonsense", 5)]
)
def test_patience_is_as_long_as_asked_for_within_reason(value: str, seconds: float) -> None:
    verdict = classify_response(PLATFORMS["claude"], answer("claude", 429, Retry_After=value), NOW)
    assert isinstance(verdict, RetryLater)
    assert verdict.seconds == seconds


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [302, 400, 403, 422, 451, 500, 502, 503, 504])
def test_what_asks_to_come_again_is_no_refusal(name: Platform, status: int) -> None:
    verdict = classify_response(PLATFORMS[name], answer(name, status, Retry_After="17"), NOW)
    assert isinstance(verdict, RetryLater)
    assert (verdict.seconds, verdict.refusal) == (17, status < 500)


@pytest.mark.parametrize("status", [408, 409, 425])
def test_a_call_that_comes_too_early_waits_alone(status: int) -> None:
    verdict = classify_response(
        PLATFORMS["claude"], answer("claude", status, Retry_After="17"), NOW
    )
    assert isinstance(verdict, RequestSnooze)
    assert verdict.seconds == 17


@pytest.mark.parametrize(
    ("status", "meaning"), [(400, Rejected), (403, Rejected), (404, NotFound), (409, Transient)]
)
def test_a_retry_after_that_makes_no_sense_changes_nothing(status: int, meaning: type) -> None:
    verdict = classify_response(
        PLATFORMS["claude"], answer("claude", status, Retry_After="soon"), NOW
    )
    assert type(verdict) is meaning


def test_what_is_gone_is_gone_whatever_it_asks_for() -> None:
    verdict = classify_response(PLATFORMS["claude"], answer("claude", 404, Retry_After="17"), NOW)
    assert isinstance(verdict, NotFound)


def test_a_refusal_is_printable_and_short() -> None:
    refused = Rejected("x" * 1000, "a\x00b\n" + "y" * 1000)
    assert (len(refused.code), refused.message[:5], len(refused.message)) == (100, "a b y", 500)

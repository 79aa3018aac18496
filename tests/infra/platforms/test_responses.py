"""The classification of platform responses, as a table."""

from datetime import UTC, datetime

import pytest

from infra.http.client import HttpResponse
from infra.platforms import PLATFORMS, Rejected
from infra.platforms.responses import classify_response
from infra.platforms.results import (
    AccountUnavailable,
    Failed,
    NotFound,
    RequestSnooze,
    RequestUnanswered,
    Result,
    RetryLater,
    Success,
    to_error,
)
from infra.sandbox.app import DIALECTS
from schemas.types import Platform

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def response(name: Platform, status: int, **headers: str) -> HttpResponse:
    body = str(DIALECTS[name].fault(status, "SOME_CODE", "some words")).replace("'", '"')
    return HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, body.encode())


def classify(name: Platform, received: HttpResponse, *, for_owner: bool = False) -> Result[int]:
    return classify_response(PLATFORMS[name], len, received, NOW, for_owner=for_owner)


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Success),
        (201, Success),
        (204, Success),
        (400, Rejected),
        (401, RetryLater),
        (403, Rejected),
        (404, NotFound),
        (408, RetryLater),
        (409, RetryLater),
        (410, NotFound),
        (422, Rejected),
        (425, RetryLater),
        (429, RetryLater),
        (451, Rejected),
    ],
)
def test_each_status_has_its_result(name: Platform, status: int, result: type) -> None:
    assert type(classify(name, response(name, status))) is result


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [100, 199, 300, 302, 304, 500, 502, 503, 504, 599])
def test_a_status_that_no_api_should_return_counts_against_the_platform(
    name: Platform, status: int
) -> None:
    assert classify(name, response(name, status)) == Failed(f"HTTP {status}")


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [400, 404, 422])
def test_an_error_in_another_format_is_no_rejection(name: Platform, status: int) -> None:
    result = classify(name, HttpResponse(status, {}, b"<html>not found</html>"))
    assert result == Failed("the answer is malformed")


def test_a_success_that_cannot_be_parsed_is_a_failure() -> None:
    result = classify_response(PLATFORMS["claude"], int, HttpResponse(200, {}, b"x"), NOW)
    assert isinstance(result, Failed)


@pytest.mark.parametrize(
    ("value", "seconds"), [("17", 17), ("0", 1), ("99999", 900), ("nonsense", 5)]
)
def test_a_wait_is_as_long_as_the_platform_asks_within_bounds(value: str, seconds: float) -> None:
    result = classify("claude", response("claude", 429, Retry_After=value))
    assert isinstance(result, RetryLater)
    assert (result.seconds, result.scope) == (seconds, "platform")


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("status", [302, 400, 403, 422, 451, 500, 502, 503, 504])
def test_a_response_with_retry_after_is_no_rejection(name: Platform, status: int) -> None:
    received = response(name, status, Retry_After="17")
    for for_owner in (True, False):
        result = classify(name, received, for_owner=for_owner)
        assert isinstance(result, RetryLater)
        scope = "account" if for_owner and status < 500 else "platform"
        assert (result.seconds, result.scope) == (17, scope)


@pytest.mark.parametrize("status", [408, 409, 425])
def test_a_request_that_comes_too_early_waits_alone(status: int) -> None:
    result = classify("claude", response("claude", status, Retry_After="17"))
    assert isinstance(result, RetryLater)
    assert (result.seconds, result.scope) == (17, "request")


@pytest.mark.parametrize(
    ("status", "result"), [(400, Rejected), (403, Rejected), (404, NotFound), (409, RetryLater)]
)
def test_a_retry_after_that_cannot_be_parsed_changes_nothing(status: int, result: type) -> None:
    found = classify("claude", response("claude", status, Retry_After="soon"))
    assert type(found) is result
    assert not isinstance(found, RetryLater) or found.seconds is None


def test_a_campaign_that_is_not_found_is_not_retried() -> None:
    assert classify("claude", response("claude", 404, Retry_After="17")) == NotFound()


def test_a_rejection_is_printable_and_short() -> None:
    rejected = Rejected("x" * 1000, "a\x00b\n" + "y" * 1000)
    assert (len(rejected.code), rejected.message[:5], len(rejected.message)) == (100, "a b y", 500)


@pytest.mark.parametrize(
    ("result", "error", "code", "seconds"),
    [
        (RetryLater("r", 9.0), "Snooze", "SNOOZE", 9),
        (RetryLater("r", 9.0, "request"), "RequestSnooze", "SNOOZE", 9),
        (RetryLater("r", 9.0, "account"), "RequestSnooze", "SNOOZE", 9),
        (RetryLater("r", 9.0, "account", token_rejected=True), "AccountUnavailable", "SNOOZE", 9),
        (RetryLater("r", None, "request"), "Transient", "PLATFORM_BUSY", None),
        (Failed("r", 9.0), "RequestUnanswered", "SNOOZE", 9),
        (Failed("r"), "Transient", "PLATFORM_FAILED", None),
        (Rejected("policy", "no"), "Rejected", "policy", None),
    ],
)
def test_each_result_without_a_value_becomes_an_error(
    result: Rejected | RetryLater | Failed, error: str, code: str, seconds: float | None
) -> None:
    found = to_error(result)
    assert (type(found).__name__, found.code) == (error, code)
    assert getattr(found, "seconds", None) == seconds


def test_what_concerns_one_request_delays_no_other() -> None:
    assert issubclass(AccountUnavailable, RequestSnooze)
    assert issubclass(RequestUnanswered, RequestSnooze)

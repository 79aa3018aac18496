"""The figures of webhook sources as they follow from counts, samples and bodies."""

from datetime import UTC, datetime, timedelta

import pytest

from infra.storage.webhook_counts import AcceptedWebhooks, WebhookCount
from workers.ops.pages.webhook_body import show_body
from workers.ops.pages.webhook_figures import build_figures, describe_skew
from workers.ops.sampler import Sample
from workers.ops.source_rows import build_source_rows, is_silent, list_silent

START = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)


def sample(at: float, total: int | None, last: float = 0) -> Sample:
    """Build a sample ``at`` seconds after the start; None is a database that does not answer."""
    when = START + timedelta(seconds=at)
    if total is None:
        return Sample(at=when)
    last_at = START + timedelta(seconds=last)
    hour = START - timedelta(hours=2)
    return Sample(at=when, webhooks={"claude": AcceptedWebhooks(total, last_at, 7200, hour)})


@pytest.mark.parametrize(
    ("history", "rate"),
    [
        ([sample(0, 5)], "not known"),
        ([sample(0, 5), sample(4, 9)], "not known"),
        ([sample(0, 0), sample(60, 600)], "10"),
        ([sample(0, 0), sample(30, None), sample(60, 600)], "10"),
        ([sample(0, 0), sample(100, 900), sample(120, 1000)], "5"),
        ([sample(0, 0), sample(200, 900)], "not known"),
        ([sample(0, 7), sample(60, 7)], "0"),
        ([sample(0, 7), sample(60, None)], "not known"),
    ],
)
def test_a_rate_is_a_mean_of_the_last_minute(history: list[Sample], rate: str) -> None:
    assert build_source_rows(history)[0].rate_text == rate


def test_what_is_not_known_differs_from_what_never_came() -> None:
    claude, chatgpt, _ = build_source_rows([sample(0, 5)])
    assert (claude.icon, claude.word, claude.detail) == ("ok", "0 s ago", "14:00:00")
    assert (chatgpt.icon, chatgpt.word) == ("unknown", "none yet")
    assert [row.word for row in build_source_rows([sample(0, None)])] == ["not known"] * 3
    assert [row.word for row in build_source_rows([])] == ["not known"] * 3
    assert list_silent(None, START) == []


def test_the_line_has_a_point_for_every_ten_seconds() -> None:
    row = build_source_rows([sample(at, at * 3) for at in range(0, 62, 2)])[0]
    assert row.rates == pytest.approx([3.0] * 6)


@pytest.mark.parametrize(
    ("week", "hours_known", "silence", "silent"),
    [
        (7200, 2, timedelta(minutes=9), False),  # every second, but that is too short
        (7200, 2, timedelta(minutes=11), True),
        (24, 24, timedelta(hours=19), False),  # once an hour
        (24, 24, timedelta(hours=21), True),
        (0, 0, timedelta(days=8), True),  # nothing in the week
    ],
)
def test_a_source_is_silent_after_much_longer_than_usual(
    week: int, hours_known: int, silence: timedelta, *, silent: bool
) -> None:
    since = START - timedelta(hours=hours_known) if week else None
    assert is_silent(AcceptedWebhooks(9000, START, week, since), START + silence) is silent


def count(counter: str, label: str, number: int, at: datetime | None = START) -> WebhookCount:
    return WebhookCount("chatgpt", counter, label, number, at, "192.0.2.7")


def test_skew_is_told_by_the_bounds_of_its_buckets() -> None:
    counts = [count("skew", "0.5", 98), count("skew", "2.0", 1), count("skew", "+Inf", 1)]
    assert describe_skew(counts) == "p50 below 0.5 s, p99 below 2 s"
    counts = [count("skew", "0.5", 50), count("skew", "300.0", 0), count("skew", "+Inf", 50)]
    assert describe_skew(counts) == "p50 below 0.5 s, p99 over 300 s"
    assert describe_skew([count("skew", "0.5", 0)]) == ""


def test_a_small_part_of_the_outcomes_can_be_seen() -> None:
    figures = build_figures(
        [
            count("outcome", "accepted", 999_990),
            count("outcome", "unrecognised", 8),
            count("outcome", "unavailable", 2),
        ],
        START,
    )["chatgpt"]
    assert figures.accepted_percent == "99.99 percent accepted"
    assert [state for state, _ in figures.meter] == ["ok", "warn", "bad"]
    assert [share for _, share in figures.meter][1:] == [0.5, 0.5]
    assert sum(share for _, share in figures.meter) == pytest.approx(100)
    assert [words for _, _, words in figures.outcomes] == [
        "accepted",
        "unrecognised",
        "bad signature",
        "not stored",
    ]
    nothing = build_figures([], START)["claude"]
    assert (nothing.meter, nothing.accepted_percent) == ([("rest", 100.0)], "no webhook")
    assert (nothing.slots, nothing.slot_note, nothing.refused) == ([], "", None)


@pytest.mark.parametrize(
    ("slots", "note"),
    [
        ([count("slot", "1", 0, None)], "one secret, not used yet"),
        ([count("slot", "1", 7)], "one secret, used 4 s ago"),
        ([count("slot", "1", 3), count("slot", "2", 97)], "keep them: slot 2 was used 4 s ago"),
        ([count("slot", "1", 3), count("slot", "2", 0)], "not used in 24 hours: slot 2"),
    ],
)
def test_a_secret_that_is_still_used_is_to_be_kept(slots: list[WebhookCount], note: str) -> None:
    assert build_figures(slots, START + timedelta(seconds=4))["chatgpt"].slot_note == note


@pytest.mark.parametrize(
    ("total", "refused", "is_many"), [(100, 10, False), (1000, 11, False), (100, 11, True)]
)
def test_many_refused_signatures_are_more_than_ten_and_a_twentieth(
    total: int, refused: int, *, is_many: bool
) -> None:
    counts = [
        count("outcome", "accepted", total - refused),
        count("outcome", "bad_signature", refused),
        count("bad_signature", "signature", refused - 1),
        count("bad_signature", "headers", 1, START - timedelta(hours=1)),
    ]
    found = build_figures(counts, START)["chatgpt"].refused
    assert found is not None
    assert (found.number, found.is_many, found.last_at) == (refused, is_many, START)
    reasons = f"{refused - 1} that no secret matches; 1 with a header missing or malformed"
    assert found.reasons == reasons


@pytest.mark.parametrize(
    ("body", "reason", "lines"),
    [
        ('{"data":{"spend":"x"}}', "data.spend: no number", [3]),
        ('{"data":{"spend":"x"}}', "campaign.metrics_updated.data.spend: no", [3]),
        ('{"id":1,"data":{"a":{},"spend":"x"}}', "data.clicks: Field required", [3]),
        ('{"events":[{"a":[]},{"a":{"b":1},"c":2}]}', "events.1.c: no; events.0.a: no", [4, 10]),
        ('{"event":"x"}', "event: Input tag 'x' found; y: Field required", [2]),
        ('{"event":"x"}', "", []),
        ("{\nnope", "body: Invalid JSON: key must be a string at line 2 column 1", [2]),
        ("", "body: Invalid JSON: EOF while parsing at line 1 column 0", [1]),
        ("\x00", "nothing to point at", []),
        ("[" * 5000, "body: recursion", []),
    ],
)
def test_the_lines_at_fault_are_marked(body: str, reason: str, lines: list[int]) -> None:
    assert sorted(show_body(body, reason).faults) == lines


def test_a_large_body_is_cut_and_says_so() -> None:
    assert show_body("x" * 5000, "").omitted == "904 more characters"
    shown = show_body("[" + ",".join("1" * 3000) + "]", "2999: no")
    assert (len(shown.lines), shown.omitted, shown.faults) == (1000, "2,002 more lines", {})

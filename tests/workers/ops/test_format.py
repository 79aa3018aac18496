"""How times, durations, numbers, ids and strangers' texts are written."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from workers.ops import format as formats

NOW = datetime(2026, 11, 29, 14, 22, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "< 1 ms"),
        (0.212, "212 ms"),
        (0.9996, "1 s"),
        (31.47, "31.5 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (1470, "24 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (166_920, "1 d 22 h"),
        (86_400, "1 d"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert formats.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0"),
        (0.0833, "5 per minute"),
        (0.001, "< 1 per minute"),
        (0.1, "0.1"),
        (8.04, "8"),
        (17.2, "17"),
        (5904, "5,904"),
    ],
)
def test_a_rate_has_two_digits_and_a_small_one_is_per_minute(rate: float, text: str) -> None:
    assert formats.format_rate(rate) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1, "1 byte"),
        (212_004, "212,004 bytes"),
        (142 * 1024**2, "142 MiB"),
        (3584 * 1024**2, "3.5 GiB"),
    ],
)
def test_a_size_is_in_bytes_until_it_is_a_mebibyte(size: int, text: str) -> None:
    assert formats.format_bytes(size) == text


def test_a_time_is_as_short_as_the_day_allows() -> None:
    today = datetime(2026, 11, 29, 16, 21, 12, 4000, tzinfo=timezone(timedelta(hours=2)))
    assert formats.format_time(today, NOW) == "14:21:12"
    assert formats.format_time(today, NOW, milliseconds=True) == "14:21:12.004"
    friday = datetime(2026, 11, 27, 16, 20, 3, tzinfo=UTC)
    assert formats.format_time(friday, NOW) == "Fri 27 Nov 16:20"
    assert formats.format_time(friday.replace(year=2025), NOW) == "Thu 27 Nov 2025 16:20"
    assert formats.format_iso(today) == "2026-11-29T14:21:12.004000Z"
    assert formats.format_ago(friday, NOW) == "1 d 22 h ago"
    assert formats.format_ago(NOW + timedelta(seconds=8), NOW) == "in 8 s"


@pytest.mark.parametrize(
    ("whole", "short"),
    [
        ("0d3a4f6e-8a0b-5c77-9d51-3f2b8a1c7e90", "0d3a4f6e"),
        ("6afbcb11eb736afbcb11eb73", "6afbcb11"),
        ("op_bx0MHlOoSw6dCgwfb59qEehoKoNbzq9UDG_CqwnyQjtzMTmmG2jhBq4mEbynTN8a", "op_bx0MHl…TN8a"),
        ("figures-2026-11-29-1330-0419", "figures-2026-11-29-1330-0419"),
        ("evt_1", "evt_1"),
    ],
)
def test_an_id_is_shortened_by_its_form(whole: str, short: str) -> None:
    assert formats.shorten_id(whole) == short


def test_what_is_not_printable_is_marked_and_a_written_escape_is_not() -> None:
    assert formats.split_escapes("a\x1b[2K\r\n\u202eb\\x1b") == [
        ("a", False),
        ("\\x1b", True),
        ("[2K", False),
        ("\\x0d", True),
        ("\\x0a", True),
        ("\\u202e", True),
        ("b\\x1b", False),
    ]
    assert formats.split_escapes("a\nb", lines=True) == [("a\nb", False)]

"""The rules of W3C Trace Context, Level 1 and 2, as tables: what is sent and what counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.trace_context import (
    MAX_STATE_LENGTH,
    TraceContext,
    parse_trace_context,
    parse_traceparent,
    parse_tracestate,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IDS = f"{TRACE}-{SPAN}"
SAMPLED = f"00-{IDS}-01"

PARENTS = {
    "version 00, sampled": (SAMPLED, SAMPLED),
    "version 00, not sampled": (f"00-{IDS}-00", f"00-{IDS}-00"),
    "the flag random-trace-id of level 2": (f"00-{IDS}-02", f"00-{IDS}-02"),
    "both flags": (f"00-{IDS}-03", f"00-{IDS}-03"),
    "unknown flags are set to zero": (f"00-{IDS}-ff", f"00-{IDS}-03"),
    "one unknown flag beside sampled": (f"00-{IDS}-09", f"00-{IDS}-01"),
    "only unknown flags": (f"00-{IDS}-f4", f"00-{IDS}-00"),
    "white space around it": (f" \t{SAMPLED}\t ", SAMPLED),
    "a higher version": (f"cc-{IDS}-01", SAMPLED),
    "a higher version with more fields": (f"cc-{IDS}-01-what-the-future-will-be-like", SAMPLED),
    "the highest version": (f"fe-{IDS}-00", f"00-{IDS}-00"),
    "of a higher version only sampled counts": (f"01-{IDS}-ff", SAMPLED),
    "a higher version that ends with a dash": (f"01-{IDS}-01-", SAMPLED),
    "a higher version, then no dash": (f"cc-{IDS}-01.what-the-future-will-be-like", None),
    "a higher version with longer flags": (f"cc-{IDS}-010", None),
    "a higher version that is too short": (f"cc-{IDS}-1", None),
    "a higher version with zeros as its trace": (f"cc-{'0' * 32}-{SPAN}-01", None),
    "version ff": (f"ff-{IDS}-01", None),
    "version ff with more fields": (f"ff-{IDS}-01-more", None),
    "a version in upper case": (f"0A-{IDS}-01", None),
    "a version that is no number": (f".0-{IDS}-01", None),
    "a version of one digit": (f"0-{IDS}-01", None),
    "a version of three digits": (f"000-{IDS}-01", None),
    "version 00 with more fields": (f"{SAMPLED}-more", None),
    "version 00 with a dash at its end": (f"{SAMPLED}-", None),
    "version 00 with another character at its end": (f"{SAMPLED}.", None),
    "a trace of zeros": (f"00-{'0' * 32}-{SPAN}-01", None),
    "a trace in upper case": (f"00-{TRACE.upper()}-{SPAN}-01", None),
    "a trace that is no number": (f"00-.{TRACE[1:]}-{SPAN}-01", None),
    "a trace that is too long": (f"00-{TRACE}0-{SPAN}-01", None),
    "a trace that is too short": (f"00-{TRACE[1:]}-{SPAN}-01", None),
    "a span of zeros": (f"00-{TRACE}-{'0' * 16}-01", None),
    "a span in upper case": (f"00-{TRACE}-{SPAN.upper()}-01", None),
    "a span that is too long": (f"00-{TRACE}-{SPAN}0-01", None),
    "a span that is too short": (f"00-{TRACE}-{SPAN[1:]}-01", None),
    "flags in upper case": (f"00-{IDS}-0A", None),
    "flags that are no number": (f"00-{IDS}-.0", None),
    "flags that are too long": (f"00-{IDS}-001", None),
    "flags that are too short": (f"00-{IDS}-1", None),
    "digits of another script": (f"00-{TRACE[:-1]}\u0663-{SPAN}-01", None),
    "a line end after it": (f"{SAMPLED}\n", None),
    "another delimiter": (SAMPLED.replace("-", "_"), None),
    "nothing": ("", None),
    "no text": (7, None),
}

KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS_32 = ",".join(f"k{n}={n}" for n in range(32))

STATES = {
    "one member": ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
    "two members keep their order": ("rojo=1,congo=2", "rojo=1,congo=2"),
    "white space around members": ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
    "white space around all": ("\t foo=1 \t", "foo=1"),
    "blanks before a value belong to it": ("foo=  1", "foo=  1"),
    "empty members": (" ,foo=1,, ,bar=2,", "foo=1,bar=2"),
    "every character of a key": (f"{KEY}=1", f"{KEY}=1"),
    "a tenant and its system": ("fw529a3039@dt=FfAz", "fw529a3039@dt=FfAz"),
    "a key that begins with a digit": ("0a=1", "0a=1"),
    "every character of a value": (f"foo={VALUE}", f"foo={VALUE}"),
    "a key of 256 characters": (f"{'k' * 256}=1", f"{'k' * 256}=1"),
    "a value of 256 characters": (f"foo={'v' * 256}", f"foo={'v' * 256}"),
    "32 members": (MEMBERS_32, MEMBERS_32),
    "33 members": (f"{MEMBERS_32},more=1", None),
    "a repeated key": ("foo=1,foo=1", None),
    "a repeated key between others": ("foo=1,bar=2,foo=3", None),
    "a blank before the equals sign": ("foo =1", None),
    "a key in upper case": ("FOO=1", None),
    "a key with another character": ("foo.bar=1", None),
    "a key that begins with @": ("@foo=1,bar=2", None),
    "a key of 257 characters": (f"{'k' * 257}=1", None),
    "no key": ("=1", None),
    "no value": ("foo=", None),
    "only blanks as a value": ("foo=  ", None),
    "no equals sign": ("foo", None),
    "two equals signs": ("foo=bar=baz", None),
    "a value of 257 characters": (f"foo={'v' * 257}", None),
    "a control character": ("foo=b\x01r", None),
    "a tab in a value": ("foo=b\tr", None),
    "a character outside ASCII": ("foo=b\u00e4r", None),
    "one malformed member of several": ("foo=1,bar,baz=3", None),
    "only separators": (" , ,", None),
    "empty": ("", None),
    "no text": (["foo=1"], None),
}


@pytest.mark.parametrize(("sent", "counts"), PARENTS.values(), ids=PARENTS)
def test_a_traceparent_is_read_by_the_recommendation(sent: object, counts: str | None) -> None:
    assert parse_traceparent(sent) == counts


@pytest.mark.parametrize(("sent", "counts"), STATES.values(), ids=STATES)
def test_a_tracestate_is_read_by_the_recommendation(sent: object, counts: str | None) -> None:
    assert parse_tracestate(sent) == counts


def test_of_a_long_tracestate_large_members_are_left_out_first_then_the_last_ones() -> None:
    large = f"large={'x' * 200}"
    small = [f"k{n}={'v' * 90}" for n in range(6)]
    whole = ",".join([small[0], large, *small[1:4]])
    assert parse_tracestate(whole) == ",".join(small[:4])
    assert parse_tracestate(",".join(small)) == ",".join(small[:5])
    exact = f"a={'x' * 126},b={'x' * 126},c={'x' * 126},d={'x' * 123}"
    assert len(exact) == MAX_STATE_LENGTH
    assert parse_tracestate(exact) == exact


def test_a_tracestate_without_a_valid_traceparent_means_nothing() -> None:
    assert parse_trace_context(None, "foo=1") is None
    assert parse_trace_context(f"ff-{IDS}-01", "foo=1") is None


def test_a_malformed_tracestate_leaves_the_traceparent() -> None:
    assert parse_trace_context(SAMPLED, "foo=1,foo=2") == TraceContext(SAMPLED)


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True)]
)
def test_the_first_flag_says_whether_a_trace_is_recorded(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a column
    assert TraceContext(f"00-{IDS}-{flags}").is_sampled is sampled


def test_a_context_names_its_trace_and_its_span() -> None:
    context = TraceContext(SAMPLED, "foo=1")
    assert (context.trace_id, context.span_id) == (TRACE, SPAN)
    assert context.attributes == {"traceparent": SAMPLED, "tracestate": "foo=1"}


@given(st.text(), st.text())
def test_any_text_is_read_and_what_is_given_is_valid(parent: str, state: str) -> None:
    found = parse_trace_context(parent, state)
    assert found is None or parse_trace_context(*found) == found


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,9}=[!-+]{1,150}", fullmatch=True), max_size=40))
def test_what_is_given_of_a_tracestate_has_at_most_512_characters(members: list[str]) -> None:
    found = parse_tracestate(",".join(members))
    assert found is None or len(found) <= MAX_STATE_LENGTH
    assert found is None or parse_tracestate(found) == found

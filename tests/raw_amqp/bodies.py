"""Bodies of messages, right and wrong, that can be told by their number.

Each valid report is about a campaign and a day of its own and has its number (plus one) as
impressions, added as a delta: the row in ``campaign_metrics`` shows which one took effect, and how
often.
"""

import datetime as dt
import json
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from tests.raw_amqp.oracle import EFFECT, INVALID, Content, Outcome, dead

SOURCE = "urn:acme:crm"
CAMPAIGNS = 500
FIRST_DAY = dt.date(2024, 6, 1)
REPORT, CREATE = "campaign.metrics_reported.v1", "campaign.create_requested.v1"
Made = tuple[bytes, Content]
Document = dict[str, Any]
Maker = Callable[[int, Random], Made]
Change = Callable[[int, Random], Document]


def campaign_id(number: int, *, late: bool = False) -> UUID:
    """Give the id of the campaign that a report of this number is about."""
    return uuid5(NAMESPACE_URL, platform_id(number, late=late))


def platform_id(number: int, *, late: bool = False) -> str:
    """Give the platform's id of that campaign; a late one is known only later."""
    return f"late-{number}" if late else f"p-{number % CAMPAIGNS}"


def day(number: int) -> dt.date:
    """Give the day of a report."""
    return FIRST_DAY + dt.timedelta(days=number // CAMPAIGNS)


def data(number: int, *, late: bool = False) -> Document:
    """Write the data of a report."""
    return {
        "impressions": number + 1,
        "platform": "claude",
        "platform_campaign_id": platform_id(number, late=late),
        "date": day(number).isoformat(),
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
        "mode": "delta",
    }


def creation(number: int) -> Document:
    """Write the data of a wanted campaign."""
    return {
        "campaign_id": str(uuid5(NAMESPACE_URL, f"made-{number}")),
        "name": f"case-{number}",
        "budget": 100,
        "platform": "claude",
        "targeting": {"interests": ["tea"], "age_range": [25, 45]},
    }


def attributes(number: int, kind: str = REPORT) -> Document:
    """Write the attributes of an event."""
    return {
        "id": f"case-{number}",
        "specversion": "1.0",
        "source": SOURCE,
        "type": kind,
        "time": "2026-11-22T08:00:00.123456Z",
    }


def event(number: int, **changes: Any) -> Document:
    """Write a valid report as a whole event, some of it changed."""
    return attributes(number) | {"data": data(number)} | changes


def as_json(document: Document) -> bytes:
    """Write a document plainly."""
    return json.dumps(document).encode()


def _written(document: Any, dice: Random) -> bytes:
    """Write JSON in one of the ways that mean the same."""
    indent = dice.choice((None, None, None, 1))
    text = json.dumps(document, ensure_ascii=dice.random() < 0.5, indent=indent)
    return text.encode(errors="surrogatepass")


def _whole(change: Change, outcome: Outcome) -> Maker:
    def make(number: int, dice: Random) -> Made:
        body = _written(event(number, **change(number, dice)), dice)
        return body, Content(outcome, INVALID)

    return make


def _with_data(change: Change, outcome: Outcome) -> Maker:
    """Make a report, whole or as its data alone, that is changed."""

    def make(number: int, dice: Random) -> Made:
        changed = data(number) | change(number, dice)
        platform = changed["platform"]
        if dice.random() < 0.3:
            return _written(changed, dice), Content(INVALID, outcome, platform)
        whole = event(number, data=changed)
        return _written(whole, dice), Content(outcome, INVALID, platform)

    return make


def _without(number: int, dice: Random) -> Made:
    document = event(number, subject=f"case-{number}")
    del document[dice.choice(("id", "specversion", "source", "type", "data"))]
    return _written(document, dice), BROKEN


def report(number: int, dice: Random) -> Made:
    """Write a valid report in structured mode, with extension attributes now and then."""
    more = {f"ext{n}": dice.choice(("x", "ä\u2028", 1, True)) for n in range(dice.randrange(3))}
    return _written(event(number, **more), dice), Content(EFFECT, INVALID)


def report_data(number: int, dice: Random) -> Made:
    """Write the data of a valid report, for binary mode."""
    return _written(data(number), dice), Content(INVALID, EFFECT)


def late(number: int, dice: Random) -> Made:
    """Write a report about a campaign that is not known yet: it comes through the retry ladder."""
    told = data(number, late=True)
    if dice.random() < 0.3:
        return _written(told, dice), Content(INVALID, EFFECT)
    return _written(event(number, data=told), dice), Content(EFFECT, INVALID)


def create(number: int, dice: Random) -> Made:
    """Ask for a campaign."""
    wanted = attributes(number, CREATE) | {"data": creation(number)}
    return _written(wanted, dice), Content(EFFECT, INVALID)


def sized(number: int, size: int) -> Made:
    """Write a valid report of exactly so many bytes: JSON may end in spaces."""
    return as_json(event(number)).ljust(size), Content(EFFECT, INVALID)


def _garbage(number: int, dice: Random) -> Made:
    return f"case-{number} ".encode() + dice.randbytes(dice.randrange(200)), BROKEN


def _cut(number: int, dice: Random) -> Made:
    whole = as_json(event(number))
    return whole[: dice.randrange(30, len(whole) - 1)], BROKEN


def _deep(number: int, dice: Random) -> Made:
    depth = dice.choice((200, 5000, 50_000))
    return f'["case-{number}",'.encode() + b"[" * depth + b"]" * depth + b"]", BROKEN


def _no_utf8(number: int, dice: Random) -> Made:
    text = dice.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80"))
    body = as_json(event(number, subject="HERE"))
    return body.replace(b"HERE", text), BROKEN


BROKEN = Content(INVALID, INVALID)
WRONG_DATA: tuple[Document, ...] = (
    {"clicks": -5},
    {"clicks": 2**79},
    {"clicks": None},
    {"clicks": [[]]},
    {"date": "yesterday"},
    {"date": "2026-02-30"},
    {"platform": "tv"},
    {"mode": "both"},
    {"spend": -1},
    {"more": "x\x1b[2J\n"},
    {"platform_campaign_id": "a\0b"},
)
WRONG_ENVELOPE: tuple[Document, ...] = (
    {"specversion": "2.0"},
    {"type": "campaign.saved.v1"},
    {"type": 7},
    {"source": ""},
    {"time": "soon"},
    {"time": "9999-99-99T00:00:00Z"},
    {"subject": "a\0b"},
    {"subject": "x" * 3000},
    {"data": []},
    {"data": None},
    {"datacontenttype": "text/plain"},
)
BAD: tuple[Maker, ...] = (
    _garbage,
    _cut,
    _deep,
    _no_utf8,
    _without,
    _with_data(lambda _, dice: dice.choice(WRONG_DATA), INVALID),
    _with_data(lambda _, dice: dice.choice(WRONG_DATA), INVALID),
    _whole(lambda _, dice: dice.choice(WRONG_ENVELOPE), INVALID),
    _whole(lambda *_: {"time": "2099-06-01T00:00:00Z"}, dead("decode", "TIMESTAMP_IN_FUTURE")),
    _whole(lambda *_: {"source": "urn:other:shop"}, dead("authorize", "UNVERIFIED_SOURCE")),
    _whole(lambda *_: {"source": "urn:adrelay:api"}, dead("authorize", "UNVERIFIED_SOURCE")),
    _with_data(
        lambda number, _: {
            "platform": "chatgpt",
            "platform_campaign_id": None,
            "campaign_id": str(campaign_id(number)),
        },
        dead("handler", "WRONG_PLATFORM"),
    ),
)

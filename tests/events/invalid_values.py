"""Values that every entry point rejects, as raw JSON: they cannot be stored unchanged."""

import json
from typing import Any

FIGURES = "campaign.metrics_reported.v1"
CREATION = "campaign.create_requested.v1"
CHANGE = "campaign.update_requested.v1"
CAMPAIGN_ID = "0d3a4f6e-8a0b-5c77-9d51-3f2b8a1c7e90"
GOOD: dict[str, dict[str, Any]] = {
    FIGURES: {
        "platform": "claude",
        "platform_campaign_id": "c-1",
        "date": "2026-11-22",
        "impressions": 10,
        "clicks": 2,
        "conversions": 1,
        "spend": 1.5,
    },
    CREATION: {
        "name": "Spring",
        "budget": 100,
        "platform": "claude",
        "targeting": {"interests": ["tea"], "age_range": [25, 45]},
    },
    CHANGE: {"campaign_id": CAMPAIGN_ID, "name": "Summer"},
}
LARGE = "1" + "0" * 30
DAYS = (
    '"2026-11-22T00:00:00Z"',
    '"2026-11-22T23:30:00-05:00"',
    '"2026-11-22 00:00:00"',
    '"1795305600"',
    "1795305600",
    "1795305600000",
    "20261122",
    "0",
    "1.5",
    '"9999-12-31"',
    '"0001-01-01"',
    '"-0044-03-15"',
    '"10000-01-01"',
    '"infinity"',
    '"2026-02-30"',
    '"\\u0662026-11-22"',
    "true",
    "null",
    "[]",
)
TIMES = (
    "1795305600",
    '"1795305600"',
    '"2026-11-22"',
    '"2026-11-22T08:00:00"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59.999999Z"',
    '"9999-12-31T23:59:59-14:00"',
    '"294276-12-31T23:59:59Z"',
    '"-infinity"',
)
COUNTS = (str(2**63 - 1), str(2**63), str(10**12 + 1), LARGE, "-1", "1.5", "1e300", '"1"', "true")
AMOUNTS = (LARGE, "1e10", "-0.01", "0.0000001", "1e400", '"NaN"', '"Infinity"', "true", "null")
CURRENCIES = ("XXX", "XTS", "XAU", "XDR", "XXQ", "usd", "US", "USD ", "\u0055\u0405D", "DEM")
PAYMENTS = (
    ("JPY", "100.5"),
    ("KRW", "0.01"),
    ("USD", "10.005"),
    ("EUR", '"10.001"'),
    ("KWD", "1.0005"),
)
TEXTS = ('""', '"a\\u0000b"', f'"{"x" * 101}"', "7", "null", "[]")
AGES = ("[12, 20]", "[20, 121]", "[45, 25]", "[25]", "[25, 1e30]", f"[25, {LARGE}]", "[25.5, 30]")

# Event type, the field's name in an answer, the path and the raw JSON of the value.
INVALID_VALUES: tuple[tuple[str, str, dict[str, str]], ...] = (
    *((FIGURES, "data.date", {"data.date": day}) for day in DAYS),
    *((FIGURES, "time", {"time": time}) for time in TIMES),
    *(
        (FIGURES, f"data.{name}", {f"data.{name}": count})
        for count in COUNTS
        for name in ("clicks",)
    ),
    *(
        (FIGURES, f"data.{n}", {f"data.{n}": str(2**63 - 1)})
        for n in ("impressions", "conversions")
    ),
    *((FIGURES, "data.spend", {"data.spend": amount}) for amount in AMOUNTS),
    *((CREATION, "data.budget", {"data.budget": amount}) for amount in (*AMOUNTS, "0")),
    *((CREATION, "data.currency", {"data.currency": json.dumps(code)}) for code in CURRENCIES),
    *(
        (CREATION, "data.budget", {"data.currency": f'"{code}"', "data.budget": amount})
        for code, amount in PAYMENTS
    ),
    *((CREATION, "data.name", {"data.name": text}) for text in TEXTS),
    *((CREATION, "data.targeting.age_range", {"data.targeting.age_range": ages}) for ages in AGES),
    (CHANGE, "data.expected_version", {"data.expected_version": LARGE}),
    (CHANGE, "data.expected_version", {"data.expected_version": "0"}),
    *((CHANGE, "data.campaign_id", {"data.campaign_id": text}) for text in ('"a\\u0000"', LARGE)),
    *((FIGURES, name, {name: '"a\\u0000b"'}) for name in ("id", "source", "subject")),
)


def event(kind: str, event_id: str, source: str, changes: dict[str, str]) -> str:
    """Encode an event with some values replaced by raw JSON."""
    whole: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": kind,
        "data": json.loads(json.dumps(GOOD[kind])),
    }
    marks = {}
    for number, (path, raw) in enumerate(changes.items()):
        *parents, name = path.split(".")
        place = whole
        for parent in parents:
            place = place[parent]
        place[name] = f"@{number}@"
        marks[f'"@{number}@"'] = raw
    text = json.dumps(whole)
    for mark, raw in marks.items():
        text = text.replace(mark, raw)
    return text

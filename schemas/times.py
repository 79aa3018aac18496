"""Days and times in events and requests: ISO 8601 text, from 1970 to 2099.

A number is rejected, since it could be seconds or milliseconds. A time in place of a day is
rejected too, since the day depends on the offset. The bounds exclude values that Postgres
cannot store or stores as infinity (``9999-12-31``).
"""

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

MIN_DATETIME = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DATETIME_LIMIT = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
DAY_MESSAGE = "must be a day in ISO 8601 (YYYY-MM-DD), from 1970-01-01 to 2099-12-31"
DATETIME_MESSAGE = (
    "must be a time in ISO 8601 with its offset (or Z), in the years 1970 to 2099 (UTC)"
)


@dataclass(frozen=True, slots=True, eq=False)
class IsoText:
    """Validates text that matches ``pattern``; in Python mode also values of the type itself."""

    pattern: str
    strict: CoreSchema
    read: CoreSchema
    format: str
    message: str

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's signature
        """Build a validator that runs entirely in pydantic-core."""
        form = core_schema.str_schema(pattern=self.pattern, strict=True)
        text = core_schema.chain_schema([form, self.read])
        either = core_schema.union_schema([self.strict, text], mode="left_to_right")
        both = core_schema.json_or_python_schema(json_schema=text, python_schema=either)
        return core_schema.custom_error_schema(
            both, custom_error_type=f"iso_{self.format}", custom_error_message=self.message
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the type in JSON schemas."""
        return {"type": "string", "format": self.format}


ISO_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def _day(*, strict: bool) -> CoreSchema:
    last = DATETIME_LIMIT.date() - dt.timedelta(days=1)
    return core_schema.date_schema(strict=strict, ge=MIN_DATETIME.date(), le=last)


def _time(*, strict: bool) -> CoreSchema:
    return core_schema.datetime_schema(
        strict=strict, ge=MIN_DATETIME, lt=DATETIME_LIMIT, tz_constraint="aware"
    )


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC)


Day = Annotated[
    dt.date,
    IsoText(ISO_DAY, _day(strict=True), _day(strict=False), "date", DAY_MESSAGE),
]
# The bound of a range in a query; it is not stored.
AnyDay = Annotated[
    dt.date,
    IsoText(
        ISO_DAY,
        core_schema.date_schema(strict=True),
        core_schema.date_schema(),
        "date",
        "must be a day in ISO 8601 (YYYY-MM-DD)",
    ),
]
# Keeps the offset that was sent.
OffsetDatetime = Annotated[
    dt.datetime,
    IsoText(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:",
        _time(strict=True),
        _time(strict=False),
        "date-time",
        DATETIME_MESSAGE,
    ),
]
# Converted to UTC.
UtcDatetime = Annotated[OffsetDatetime, AfterValidator(_in_utc)]

"""The words every shape is made of: frozen models, text, money, platforms.

Money is a decimal number of currency units on every wire and integer micros
(one millionth of a unit) inside; the names say which: ``budget`` and ``spend``
are units, ``budget_micros`` and ``spend_micros`` are micros.
"""

from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

MICROS_PER_UNIT = 1_000_000
INT64_MAX = 2**63 - 1
# What one report may count: sums of millions of reports still fit into a column.
MAX_COUNT = 10**12

Platform = Literal["claude", "chatgpt", "gemini"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)


# Postgres refuses NUL in text, so it is refused where text enters.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
TotalCount = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX)]
# A sum may have more digits than any one amount that we accept, and than a double holds: answers
# over HTTP write it in full (``workers.ingress.http.responses``).
Amount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
# Fifteen digits survive a JSON number (a double) unchanged.
CurrencyAmount = Annotated[
    Amount, Field(ge=0, max_digits=15, decimal_places=6, allow_inf_nan=False)
]
Micros = Annotated[int, Field(ge=0, le=INT64_MAX)]


class FrozenModel(BaseModel):
    """An immutable value; unknown fields are refused, input never shows in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CamelCaseModel(FrozenModel):
    """A value from a client or a platform: ``ageRange`` is read as ``age_range``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ExternalModel(BaseModel):
    """An immutable value from a platform; fields that we do not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ExternalCamelCaseModel(ExternalModel):
    """The same in camelCase; snake_case is understood too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def to_micros(units: Decimal) -> int:
    """Convert currency units to integer micros, exactly (``CurrencyAmount`` has six places)."""
    return int(units * MICROS_PER_UNIT)


def from_micros(micros: int) -> Decimal:
    """Convert integer micros to currency units."""
    return Decimal(micros) / MICROS_PER_UNIT

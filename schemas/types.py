"""Shared types: base models, text, counts, money, platforms.

Money is a decimal number of currency units on the wire and integer micros (one millionth of
a unit) inside; the names say which: ``budget`` and ``spend`` are units, ``budget_micros`` and
``spend_micros`` are micros.
"""

from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

MICROS_PER_UNIT = 1_000_000
_MICROS_PER_UNIT = Decimal(MICROS_PER_UNIT)  # converted once: every event with money is converted
INT64_MAX = 2**63 - 1
# Of one report; the sum of millions of reports still fits into a bigint column.
MAX_COUNT = 10**12

Platform = Literal["claude", "chatgpt", "gemini"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)


# Postgres rejects NUL in text, so it is rejected where text enters.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
TotalCount = Annotated[int, Field(strict=True, ge=0, le=INT64_MAX)]
# A sum may have more digits than an accepted amount, and than a double: HTTP answers contain it
# in full (``infra.web.responses``).
Amount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
# A JSON number (a double) keeps fifteen digits unchanged.
CurrencyAmount = Annotated[
    Amount, Field(ge=0, max_digits=15, decimal_places=6, allow_inf_nan=False)
]
Micros = Annotated[int, Field(ge=0, le=INT64_MAX)]


class FrozenModel(BaseModel):
    """An immutable value; unknown fields are rejected, errors do not contain the input."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CamelCaseModel(FrozenModel):
    """A value from a client: camelCase is accepted too, ``ageRange`` for ``age_range``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ExternalModel(BaseModel):
    """An immutable value from outside, as from a platform; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ExternalCamelCaseModel(ExternalModel):
    """A value from a platform in camelCase; snake_case is accepted too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def to_micros(units: Decimal) -> int:
    """Convert currency units to integer micros, exactly (``CurrencyAmount`` has six places)."""
    return int(units * _MICROS_PER_UNIT)


def from_micros(micros: int) -> Decimal:
    """Convert integer micros to currency units."""
    return Decimal(micros) / MICROS_PER_UNIT

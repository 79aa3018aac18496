"""Currencies and the number of decimals of their amounts (ISO 4217).

Codes without minor units are excluded: metals (XAU), units of account (XDR), codes for tests
(XTS) and for "no currency" (XXX).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from iso4217 import raw_table
from pydantic import AfterValidator, Field


def _exponents(table: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    units = {code: str(row["CcyMnrUnts"]) for code, row in table.items() if code}
    return {code: int(digits) for code, digits in units.items() if digits.isdigit()}


EXPONENTS: Mapping[str, int] = _exponents(raw_table)


def is_payable(amount: Decimal, currency: str) -> bool:
    """Return whether an amount in units has at most the decimals of its currency.

    True for an unknown currency.
    """
    exponent = EXPONENTS.get(currency)
    return exponent is None or amount == round(amount, exponent)


def describe_decimals(currency: str) -> str:
    """Describe the decimals that an amount may have, as the rest of an error message."""
    exponent = EXPONENTS[currency]
    decimals = f"at most {exponent} decimals" if exponent else "no decimals"
    return f"must have {decimals} in {currency}"


def _known(code: str) -> str:
    if code not in EXPONENTS:
        message = "must be the ISO 4217 code of a currency that money is paid in"
        raise ValueError(message)
    return code


Currency = Annotated[
    str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code"), AfterValidator(_known)
]

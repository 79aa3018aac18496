"""Attributes of CloudEvents 1.0.2: their names (section "Naming Conventions") and their values.

Of the CloudEvents type system JSON has text, booleans and integers; other finite numbers are
accepted too, since senders use them. Integers have at most 64 bits, here as everywhere in
Adrelay, since JSON parsers disagree on larger ones. Lists and objects are not allowed.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

INT64_LIMIT = 2**63  # the first integer that does not fit into 64 bits
# Control characters and Unicode noncharacters are not allowed in text (section "Type System",
# String). Surrogates never get here: the JSON parser rejects them.
_LAST = "".join(rf"\x{{{plane:X}FFFE}}-\x{{{plane:X}FFFF}}" for plane in range(1, 17))
TEXT_PATTERN = rf"^[^\x00-\x1f\x7f-\x9f\x{{FDD0}}-\x{{FDEF}}\x{{FFFE}}\x{{FFFF}}{_LAST}]*$"
# The same for JSON schemas, whose patterns are ECMA-262's (JSON Schema 2020-12, section 6.4). It
# leaves out noncharacters beyond U+FFFF, which only some dialects of it can write.
SCHEMA_TEXT_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]*$"
NAME_PATTERN = "^[a-z0-9]+$"
VALUE_MESSAGE = (
    "must be text without control characters, true, false, or a finite number"
    " (an integer of at most 64 bits)"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Value:
    """Validates a value of one of the types above; None stands for a missing attribute."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's signature
        """Build a validator that runs entirely in pydantic-core."""
        whole = core_schema.int_schema(strict=True, ge=-INT64_LIMIT, le=INT64_LIMIT - 1)
        # A larger integer would be rounded to the nearest double.
        number = core_schema.float_schema(
            strict=True, allow_inf_nan=False, gt=-INT64_LIMIT, lt=INT64_LIMIT
        )
        text = core_schema.str_schema(strict=True, pattern=TEXT_PATTERN)
        truth = core_schema.bool_schema(strict=True)
        either = core_schema.union_schema([text, truth, whole, number], mode="left_to_right")
        return core_schema.custom_error_schema(
            core_schema.nullable_schema(either),
            custom_error_type="attribute_value",
            custom_error_message=VALUE_MESSAGE,
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the type in JSON schemas."""
        return {"anyOf": [{"type": kind} for kind in ("string", "boolean", "number", "null")]}


ExtensionName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]
ExtensionValue = Annotated[Any, _Value()]

"""Money and quantities in requests: decimal text or JSON numbers, which never pass through a float (see `documents`).

What the JSON schema says of a field and what is accepted are one thing: the patterns are used for both.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import (
    AMOUNT_PICODOLLARS_MAX,
    NANOUNITS_PER_UNIT,
    PICODOLLARS_PER_USD,
    QUANTITY_NANOUNITS_MAX,
    to_nanounits,
    to_picodollars,
)

_USD_MAX: Final = AMOUNT_PICODOLLARS_MAX // PICODOLLARS_PER_USD
_UNITS_MAX: Final = QUANTITY_NANOUNITS_MAX // NANOUNITS_PER_UNIT
_USD_PATTERN: Final = r"^(9000000(\.0{1,12})?|[0-8]?[0-9]{1,6}(\.[0-9]{1,12})?)$"
_UNITS_PATTERN: Final = r"^(9000000000(\.0{1,9})?|[0-8]?[0-9]{1,9}(\.[0-9]{1,9})?)$"
_USD_LIMIT: Final = f"from 0 to {_USD_MAX} USD with at most 12 decimals, as a number or text such as 0.25"
_UNITS_LIMIT: Final = f"from 0 to {_UNITS_MAX} units with at most 9 decimals, as a number or text such as 2.5"


def _decimal(value: object, pattern: str, limit: str) -> Decimal | int:
    """A JSON number, or text as a person writes one: no sign, no exponent."""
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return Decimal(value.strip())
    if isinstance(value, (Decimal, int)) and not isinstance(value, bool) and value >= 0:
        return value
    raise InvalidValue("the value", value, limit)


def _picodollars(value: object) -> int:
    return to_picodollars(_decimal(value, _USD_PATTERN, _USD_LIMIT), "the value")


def _units(value: object) -> Decimal:
    number = Decimal(_decimal(value, _UNITS_PATTERN, _UNITS_LIMIT))
    to_nanounits(number, "the value")
    return number


def _whole(value: object) -> object:
    """A JSON number without a fraction; what is none is left for the field to refuse."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidValue("the value", value, "a whole number")


def _schema(pattern: str, maximum: int, step: float, description: str, example: str) -> dict[str, Any]:
    text = {"type": "string", "pattern": pattern}
    number = {"type": "number", "minimum": 0, "maximum": maximum, "multipleOf": step}
    return {"anyOf": [text, number], "description": description, "examples": [example]}


#: USD that a request gives, exact; the model holds 1e-12 USD. What one event may cost is the limit.
UsdAmount = Annotated[
    int,
    BeforeValidator(_picodollars),
    WithJsonSchema(_schema(_USD_PATTERN, _USD_MAX, 1e-12, "USD, at most 12 decimals", "0.25")),
]
#: Units that a request gives, exact.
UnitQuantity = Annotated[
    Decimal,
    BeforeValidator(_units),
    WithJsonSchema(_schema(_UNITS_PATTERN, _UNITS_MAX, 1e-9, "units, at most 9 decimals", "2.5")),
]
#: A whole number, and not a text, a truth value or a fraction that could be taken for one.
Whole = Annotated[int, BeforeValidator(_whole)]

"""Money and quantities in requests: decimal text, or a JSON number that was never a float (see `exact_json`)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import (
    AMOUNT_PICODOLLARS_MAX,
    PICODOLLARS_PER_USD,
    QUANTITY_NANOUNITS_MAX,
    exact_decimal,
    to_nanounits,
    to_picodollars,
)

_AMOUNT_USD_MAX: Final = AMOUNT_PICODOLLARS_MAX // PICODOLLARS_PER_USD


def usd_schema(usd_max: int, description: str) -> dict[str, Any]:
    """The JSON schema of an amount of 0 to `usd_max` USD."""
    text = {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,12})?$", "examples": ["12.5"]}
    number = {"type": "number", "minimum": 0, "maximum": usd_max}
    return {"description": description, "anyOf": [text, number]}


def picodollars(value: object) -> int:
    """An amount of a request in 1e-12 USD; `InvalidValue` where it is none, too large, or finer than that."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise InvalidValue("amount", value, "USD as decimal text or as a JSON number")
    amount = to_picodollars(value)
    if amount < 0:
        raise InvalidValue("amount", value, f"from 0 to {_AMOUNT_USD_MAX} USD")
    return amount


def _quantity(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise InvalidValue("quantity", value, "decimal text or a JSON number")
    number = exact_decimal(value, "quantity")
    if to_nanounits(number) < 0:
        raise InvalidValue("quantity", value, "0 or more")
    return number


#: USD in a request, as 1e-12 USD in the model. Needs a router with `ExactRoute`: else a JSON number arrives as a float,
#: and is refused.
UsdAmount = Annotated[
    int,
    BeforeValidator(picodollars),
    WithJsonSchema(usd_schema(_AMOUNT_USD_MAX, "USD, at most 12 decimals")),
]

#: Units in a request, at most 9 decimals; likewise.
UnitQuantity = Annotated[
    Decimal,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "description": "units, at most 9 decimals",
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$", "examples": ["2.5"]},
                {"type": "number", "minimum": 0, "maximum": QUANTITY_NANOUNITS_MAX // 10**9},
            ],
        }
    ),
]

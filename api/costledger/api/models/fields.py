"""Kinds of fields that several documents have: how they are written, and what is refused.

What a field's JSON schema says and what is accepted are one thing: the patterns here are used for both.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from costledger.schemas.budgets import MONTHLY_BUDGET_MAX, THRESHOLD_PERCENT_MAX, parse_monthly
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import NAME_CHARACTERS_MAX
from costledger.schemas.money import PICODOLLARS_PER_USD, usd_text
from costledger.schemas.periods import is_portable_zone, zone
from costledger.schemas.times import parse_time

#: RFC 3339, with an offset: a time without one is a guess.
INSTANT_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
_DECIMAL_PATTERN: Final = re.compile(r"^[0-9]{1,6}(\.[0-9]{1,12})?$")
_INSTANT: Final = re.compile(INSTANT_PATTERN)
_NAME_LIMIT: Final = f"text of 1 to {NAME_CHARACTERS_MAX} characters"


def usd_of(amount: Decimal) -> str:
    """USD as the ledger has them (12 decimals at most), as decimal text."""
    return usd_text(int(amount * PICODOLLARS_PER_USD))


def percent_of(percent: Decimal) -> str:
    """A percentage as decimal text, without zeros that say nothing."""
    return f"{percent.normalize():f}"


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return parse_time(value.strip().upper(), "the time")
    raise InvalidValue("the time", value, "an RFC 3339 time with its offset, for example 2026-11-23T09:00:00Z")


#: A time that a request gives; in UTC.
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-23T09:00:00Z"]}),
]


def _whole(value: object) -> object:
    # Python takes true for 1.
    if isinstance(value, bool):
        raise InvalidValue("the value", value, "a whole number")
    return value


#: A whole number that a request gives.
WholeInput = Annotated[int, BeforeValidator(_whole)]


def _decimal(value: object) -> Decimal:
    """A JSON number, or decimal text as a person writes it: no sign, no exponent, no spaces."""
    if isinstance(value, str) and not _DECIMAL_PATTERN.fullmatch(value):
        raise InvalidValue("the value", value, "a number or decimal text such as 25.50")
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise InvalidValue("the value", value, "a number or decimal text such as 25.50")
    return Decimal(value.strip()) if isinstance(value, str) else Decimal(value)


def _budget_usd(value: object) -> int:
    return parse_monthly(_decimal(value), "the value")


_USD_MAX: Final = MONTHLY_BUDGET_MAX // PICODOLLARS_PER_USD
#: USD that a request gives, 0 to 10000: exact, as text or as a JSON number. The model holds 1e-12 USD.
UsdInput = Annotated[
    int,
    BeforeValidator(_budget_usd),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^({_USD_MAX}(\.0{{1,12}})?|[0-9]{{1,4}}(\.[0-9]{{1,12}})?)$"},
                {"type": "number", "minimum": 0, "maximum": _USD_MAX, "multipleOf": 1e-12},
            ],
            "examples": ["25.00"],
        }
    ),
]
#: A percentage that a request gives, with at most 4 decimals.
PercentInput = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)$"},
                {"type": "number", "minimum": 0, "maximum": int(THRESHOLD_PERCENT_MAX), "multipleOf": 0.0001},
            ],
            "examples": ["75"],
        }
    ),
]


def _name(value: str) -> str:
    # Characters that no user id has are no error of form: such a user is unknown.
    if not 0 < len(value) <= NAME_CHARACTERS_MAX:
        raise InvalidValue("user_id", value, _NAME_LIMIT)
    return value


#: Whose data is asked for.
UserInput = Annotated[
    str,
    AfterValidator(_name),
    Field(
        # NUL is refused wherever it comes (`middleware.bodies`).
        json_schema_extra={"minLength": 1, "maxLength": NAME_CHARACTERS_MAX, "pattern": r"^[^\u0000]+$"},
        description="Whose; by default the token's own. Another user's needs a role.",
    ),
]


def _zone(name: str) -> str:
    zone(name)
    return name


class _Zones:
    """The names of all time zones, for the document; read when that is made."""

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "type": "string",
            "enum": sorted(filter(is_portable_zone, available_timezones())),
            "examples": ["Europe/Vienna"],
        }


#: The name of an IANA time zone.
ZoneInput = Annotated[str, AfterValidator(_zone), _Zones()]

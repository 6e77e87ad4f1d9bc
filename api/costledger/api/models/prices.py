"""The answer of `GET /api/prices`. Money is USD as decimal text."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from costledger.api.models.decisions import AnswerModel
from costledger.api.models.fields import Instant
from costledger.api.models.work import Name
from costledger.schemas.events import UNIT_CHARACTERS_MAX

ROWS_MAX: Final = 1000
ROWS_DEFAULT: Final = 200
#: A place in the list in UTF-8, hexadecimal; whatever has this form is a place.
CURSOR_PATTERN: Final = "^([0-9a-f]{2})*$"
CURSOR_CHARACTERS_MAX: Final = 4096

Unit = Annotated[str, StringConstraints(min_length=1, max_length=UNIT_CHARACTERS_MAX)]


class PricesQuery(BaseModel):
    """Which prices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Instant | None = Field(None, description="the prices in force then; default: now")
    service: Name | None = None
    operation: Name | None = None
    model: Name | None = Field(
        None, description="a language model: its prices are found also where no price file has them"
    )
    unit: Unit | None = None
    limit: int = Field(ROWS_DEFAULT, ge=1, le=ROWS_MAX, description="prices in one answer")
    cursor: str | None = Field(
        None, pattern=CURSOR_PATTERN, max_length=CURSOR_CHARACTERS_MAX, description="next_cursor of the page before"
    )


class PriceAnswer(AnswerModel):
    """One price."""

    service: str
    operation: str = Field(description="* is every operation of the service that has no price of its own")
    model: str | None
    unit: str
    unit_price: str = Field(description="USD per unit")
    currency: Literal["USD"] = "USD"
    rounded_up: bool = Field(description="a begun unit is charged as a whole one")
    additions: dict[str, str] = Field(description="charged besides: name of a number in the metadata -> USD for each")
    effective_from: date | None = Field(description="first UTC day; null for a price that the library knows")
    effective_to: date | None = Field(description="first UTC day on which it is in force no more; null: open")
    price_version: str
    source: str
    held: str | None = Field(description="why the price waits for review: until then it prices nothing")
    reviewed: str | None = Field(description="why a jump from the price before it is right")


class PricesAnswer(AnswerModel):
    """A page of the prices in force on a day."""

    day: date = Field(description="UTC")
    version: str = Field(description="versions of the price book's sources, the topmost first")
    prices: list[PriceAnswer] = Field(description="by service, operation, model and unit")
    next_cursor: str | None = Field(description="asks for the next page; null: this is the last")

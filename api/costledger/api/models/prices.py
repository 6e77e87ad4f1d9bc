"""The answer of `GET /api/prices`. Money is USD as decimal text."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from costledger.api.models.decisions import AnswerModel


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

"""The answers of `/api/analytics/...`. Money is USD as decimal text, exact; times are RFC 3339 in UTC.

Percentages are decimal text with two decimals.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PeriodName = Literal["day", "week", "month"]


class Document(BaseModel):
    """A document that is answered: nothing in it is changed, nothing unknown is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Current(Document):
    """The period that is running now."""

    start: datetime
    end: datetime
    total: str
    by_service: dict[str, str] = Field(description="service -> USD")
    by_operation: dict[str, str] = Field(description="service/operation -> USD")
    unpriced_events: int = Field(description="events without a known price: in no total")
    trend_percent: str = Field(
        description="change against the whole previous period, which a running one rarely reaches early; 0 where that had "
        "no cost"
    )
    trend_to_date_percent: str = Field(
        description="change against the previous period up to the same point; 0 where that had no cost by then"
    )
    live_total: str | None = Field(
        description="the same total in real time, some tenths of a second ahead; null where there is none, as of weeks"
    )


class HistoryPeriod(Document):
    """One period of the history, also where nothing was spent in it."""

    start: datetime
    end: datetime
    total: str
    by_service: dict[str, str]


class Forecast(Document):
    """What the running period will come to."""

    total: str
    low: str
    high: str
    interval_percent: int = Field(80, description="how often the truth is expected between low and high")
    method: str
    history_days: int = Field(description="days of history that it rests on")


class Detail(Document):
    """One operation in the running period."""

    service: str
    operation: str
    count: int
    total: str
    average: str | None = Field(description="USD per event with a price; null where there was none")
    maximum: str | None = Field(description="largest amount of one event; null where none had a price")
    units: str = Field(description="quantity, in the operation's unit")
    unpriced_events: int


class Recommendation(Document):
    """What to change to spend less."""

    code: str
    title: str
    reason: str
    priority: str
    potential_saving: str


class CostsAnswer(Document):
    """Everything the dashboard of one user shows of costs."""

    user_id: str
    period: PeriodName
    currency: str
    time_zone: str
    generated_at: datetime
    current: Current
    history: list[HistoryPeriod] = Field(description="oldest first; the last is the running period")
    forecast: Forecast | None = Field(description="null where there is no history to go by")
    recommendations: list[Recommendation]
    efficiency_score: str | None
    detailed: list[Detail] | None = Field(description="null unless asked for")

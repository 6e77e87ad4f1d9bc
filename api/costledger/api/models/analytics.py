"""The answers of `/api/analytics/...`. Money is USD as decimal text, exact; times are RFC 3339 in UTC.

Percentages are decimal text with two decimals.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from costledger.api.models.fields import UserInput

PeriodName = Literal["day", "week", "month"]
PAGE_USERS_MAX: Final = 200
#: The last user's id in UTF-8, in hexadecimal: every text of this form is a place between two users.
USER_CURSOR_PATTERN: Final = "^([0-9a-f]{2}){1,512}$"


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


class TierCost(Document):
    """What the users of one subscription tier have cost."""

    tier: str
    users: int = Field(description="users with an event in the period")
    total: str
    average_per_user: str = Field(description="of those users, to the nearest 1e-12 USD")
    share_percent: str | None = Field(description="of the total of all tiers; null where that is not above 0")
    by_service: dict[str, str] = Field(description="service -> USD")
    unpriced_events: int


class TiersAnswer(Document):
    """Cost by subscription tier: users count in the tier that they have now."""

    period: PeriodName
    currency: str
    time_zone: str = Field(description="always UTC: the tiers have users of all zones")
    generated_at: datetime = Field(description="some seconds ago, where the answer was remembered")
    start: datetime
    end: datetime
    total: str
    tiers: list[TierCost] = Field(description="by total, largest first")


class UserCost(Document):
    """One user: the running month, in the user's own time zone."""

    user_id: str
    tier: str
    time_zone: str
    month_start: datetime
    month_to_date: str
    monthly_budget: str
    budget_percent: str | None = Field(description="how much of the budget is used; null where it is 0")
    own_budget: bool = Field(description="false: the budget is the tier's default")
    unpriced_events: int


class UsersAnswer(Document):
    """One page of all users, in the order of their ids."""

    generated_at: datetime
    currency: str
    users: list[UserCost]
    next_cursor: str | None = Field(description="give it as `cursor` for the next page; null on the last one")


class CostsQuery(BaseModel):
    """Whose costs, and of which periods."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: PeriodName = Field("month", description="The running day, week (ISO) or month, and its history.")
    detailed: bool = Field(False, description="With every service and operation of the running period.")
    user_id: UserInput | None = None


class TiersQuery(BaseModel):
    """Of which period."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: PeriodName = Field("month", description="The running day, week (ISO) or month, of UTC.")


class UsersQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=PAGE_USERS_MAX, description="Users on one page.")
    cursor: Annotated[str, Field(pattern=USER_CURSOR_PATTERN)] | None = Field(
        None, description="`next_cursor` of the page before."
    )

"""What the rules need to know, with money in 1e-12 USD and times in microseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from costledger.schemas.budgets import Budget, BudgetDefaults, BudgetLimits
from costledger.schemas.money import PICODOLLARS_PER_USD

DAY_MICROSECONDS: Final = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers of the rules; the defaults are those shipped."""

    defaults: BudgetDefaults = field(default_factory=BudgetDefaults)
    #: Older events are history: neither totals nor alerts.
    horizon_us: int = 40 * DAY_MICROSECONDS
    #: An hour below this ends a spike, for the default spike limit; in proportion for others.
    elevated: int = 10 * PICODOLLARS_PER_USD
    #: An hour of so many times the user's usual hour is a spike …
    usual_factor: int = 5
    #: … if there were so many hours with cost in the week before …
    usual_hours_min: int = 24
    #: … and the hour comes to at least this.
    usual_least: int = PICODOLLARS_PER_USD
    #: A service's hour is an anomaly when it comes to more than its usual amount and so many deviations …
    anomaly_deviations: int = 8
    #: … of which one is at least this share of the usual amount in percent …
    anomaly_least_percent: int = 30
    #: … and at least this amount;
    anomaly_least: int = PICODOLLARS_PER_USD // 50
    #: where fewer whole weeks of history are known, nothing is usual …
    anomaly_weeks_min: int = 1
    #: … and where fewer than this are, the hours of the week are not told apart.
    anomaly_slot_weeks_min: int = 3
    #: So many full days of history make a forecast of the month.
    forecast_days_min: int = 3
    #: How many of the latest events of a partition are remembered by id, to recognise repeats.
    recent_events_max: int = 20_000
    #: Users of a partition that stay decoded between flushes; it decides nothing but speed and memory.
    active_users_max: int = 500
    #: The limits of a user without a budget.
    default_limits: BudgetLimits = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "default_limits", Budget(user_id="any").limits(self.defaults))

"""Read models over the roll-ups: see README.md."""

from costledger.sinks.analytics.costs import Costs, PeriodCosts, average, read_costs
from costledger.sinks.analytics.days import amounts_of_days
from costledger.sinks.analytics.periods import HISTORY_PERIODS, days_until, history_periods, period_bounds
from costledger.sinks.analytics.subjects import Subject, read_subject
from costledger.sinks.analytics.tiers import TierCosts, by_tier
from costledger.sinks.analytics.totals import Sums, sums_of_intervals
from costledger.sinks.analytics.users import UserOverview, users_overview

__all__ = [
    "HISTORY_PERIODS",
    "Costs",
    "PeriodCosts",
    "Subject",
    "Sums",
    "TierCosts",
    "UserOverview",
    "amounts_of_days",
    "average",
    "by_tier",
    "days_until",
    "history_periods",
    "period_bounds",
    "read_costs",
    "read_subject",
    "sums_of_intervals",
    "users_overview",
]

"""The forecast of the running period, from the days before it."""

from __future__ import annotations

from datetime import date

from costledger.api.forecasting import HISTORY_DAYS_MAX, forecast_period
from costledger.api.models.analytics import Forecast
from costledger.schemas.money import usd_text
from costledger.schemas.periods import Period, PeriodKind, period_at, zone
from costledger.schemas.times import from_microseconds
from costledger.sinks.analytics import amounts_of_days, days_until
from costledger.sinks.database import Connection


def read_forecast(connection: Connection, user_id: str, running: Period, now_us: int) -> Forecast | None:
    """What the running period will come to, with an interval; None where there is nothing to go by.

    An estimate: computed in floating point, rounded to 1e-12 USD.
    """
    today = period_at(PeriodKind.DAY, now_us, running.time_zone)
    days = days_until(today, HISTORY_DAYS_MAX)
    found = forecast_period(
        date.fromisoformat(days[0].label),
        amounts_of_days(connection, user_id, days),
        period_first_day=_civil_day(running.start_us, running.time_zone),
        period_last_day=_civil_day(running.end_us - 1, running.time_zone),
        today_share=(now_us - today.start_us) / (today.end_us - today.start_us),
    )
    if found is None:
        return None
    return Forecast(
        total=usd_text(found.total),
        low=usd_text(found.low),
        high=usd_text(found.high),
        interval_percent=found.interval_percent,
        method=found.method,
        history_days=found.history_days,
    )


def _civil_day(instant_us: int, time_zone: str) -> date:
    return from_microseconds(instant_us).astimezone(zone(time_zone)).date()

"""Forecast of a running period: pure, on daily totals. See README.md."""

from costledger.api.forecasting.estimate import HISTORY_DAYS_MAX, INTERVAL_PERCENT, PeriodForecast
from costledger.api.forecasting.period import forecast_period

__all__ = ["HISTORY_DAYS_MAX", "INTERVAL_PERCENT", "PeriodForecast", "forecast_period"]

"""What must be told of anomalies and forecasts: computed from the plain list of events, after each of them.

Written from the rules in streams/README.md with dates and civil times, sharing nothing with the stream's domain
but the periods.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import median_low
from zoneinfo import ZoneInfo

from costledger.schemas.alerts import AlertKind, AlertState
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import Period, PeriodKind, period_at
from costledger.streams.domain.rules import Rules

DAY_US = 86_400_000_000

#: kind, state, scope, start of the period, actual, limit, when the event occurred and was received
Told = tuple[AlertKind, AlertState, str, int, int, int | None, int, int]


@dataclass
class Mark:
    """A service in an hour: what is usual (None: unknown), its limit, and what was told."""

    usual: int | None = None
    limit: int = 0
    anomalous: bool = False
    end_told: bool = False


@dataclass
class NaiveUser:
    """One user: all amounts by (start of the hour, service), and everything told, in order."""

    budget: Budget
    rules: Rules
    amounts: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    marks: dict[tuple[int, str], Mark] = field(default_factory=dict)
    hours: set[int] = field(default_factory=set)
    forecast_told: dict[date, int] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def add(self, service: str, amount: int, at: int, received: int) -> None:
        """One priced event."""
        hour = period_at(PeriodKind.HOUR, at, self.budget.time_zone)
        if hour.start_us not in self.hours:
            self._end_anomalies(hour, at, received)
        self.hours.add(hour.start_us)
        if (hour.start_us, service) not in self.marks:
            self.marks[hour.start_us, service] = self._mark(hour, service, received)
        self.amounts[hour.start_us, service] += amount
        mark, spent = self.marks[hour.start_us, service], self.amounts[hour.start_us, service]
        if mark.usual is not None and not mark.anomalous and spent > mark.limit:
            if not self._goes_on(hour.previous(), service, received):
                self._tell(AlertKind.ANOMALY, AlertState.ALARM, service, hour, spent, mark.limit, at, received)
            mark.anomalous = True
        self._forecast(at, received)

    def _local(self, instant_us: int) -> datetime:
        return datetime.fromtimestamp(instant_us / 1e6, UTC).astimezone(ZoneInfo(self.budget.time_zone))

    def _held(self) -> set[date]:
        return {self._local(hour).date() for hour in self.hours}

    def _spent_at(self, day: date, hour: int, service: str) -> int:
        civil = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(self.budget.time_zone))
        instant = civil.astimezone(UTC)
        if instant.astimezone(civil.tzinfo).hour != hour:
            return 0
        return self.amounts.get((int(instant.timestamp()) * 1_000_000, service), 0)

    def _mark(self, hour: Period, service: str, received: int) -> Mark:
        local = self._local(hour.start_us)
        kept = self._local(received - self.rules.horizon_us).date()
        held = sorted(day for day in self._held() if kept < day and local.date() - timedelta(39) <= day < local.date())
        weeks = []
        for week in range(1, 6):
            days = [local.date() - timedelta(7 * (week - 1) + step) for step in range(1, 8)]
            if held and held[0] <= days[-1] and set(days) & set(held):
                weeks.append(days)
        if len(weeks) < self.rules.anomaly_weeks_min:
            return Mark()
        daily = [self._spent_at(day, local.hour, service) for days in weeks for day in days]
        weekly = [self._spent_at(days[-1], local.hour, service) for days in weeks]
        costs = [amount for amount in daily if amount > 0]
        samples, deviations = costs, self.rules.anomaly_deviations
        if len(weeks) >= self.rules.anomaly_slot_weeks_min and median_low(weekly) > 0:
            samples = weekly
        elif 2 * len(costs) <= len(daily):
            counted = {day for days in weeks for day in days}
            latest = sorted(
                (start for (start, name), amount in self.amounts.items() if name == service and amount > 0),
                reverse=True,
            )
            latest = [start for start in latest if self._local(start).date() in counted][:168]
            samples = costs = [self.amounts[start, service] for start in latest]
            if len(costs) < 12:
                return Mark()
            if len(weeks) >= self.rules.anomaly_slot_weeks_min and not any(amount > 0 for amount in daily):
                deviations = (deviations + 1) // 2
        usual = median_low(samples)
        mad = max(median_low([abs(x - median_low(group)) for x in group]) for group in (samples, costs))
        least = max(usual * self.rules.anomaly_least_percent // 100, self.rules.anomaly_least)
        return Mark(usual, usual + deviations * max(mad * 14_826 // 10_000, least))

    def _may_be_looked_at(self, start_us: int, received: int) -> bool:
        """From the day of the horizon on."""
        return self._local(start_us).date() >= self._local(received - self.rules.horizon_us).date()

    def _goes_on(self, hour: Period, service: str, received: int) -> bool:
        while hour.start_us in self.hours and self._may_be_looked_at(hour.start_us, received):
            mark = self.marks.get((hour.start_us, service))
            if mark is None or mark.usual is None:
                return False
            if mark.anomalous:
                return not mark.end_told
            if 2 * self.amounts[hour.start_us, service] < mark.usual + mark.limit:
                return False
            hour = hour.previous()
        return False

    def _end_anomalies(self, new: Period, at: int, received: int) -> None:
        before = new.previous()
        for service in sorted({service for _, service in self.marks}):
            starts = [
                start
                for (start, name), mark in self.marks.items()
                if name == service and mark.anomalous and not mark.end_told
            ]
            if not starts or max(starts) >= before.start_us or not self._may_be_looked_at(max(starts), received):
                continue
            if self._goes_on(before, service, received):
                continue
            hour = period_at(PeriodKind.HOUR, max(starts), self.budget.time_zone)
            spent = self.amounts[hour.start_us, service]
            self._tell(AlertKind.ANOMALY, AlertState.OK, service, hour, spent, None, at, received)
            for start in starts:
                # The end of all of them: each is part of what was told to be over.
                self.marks[start, service].end_told = True

    def _forecast(self, at: int, received: int) -> None:
        held = self._held()
        today, budget = max(held), self.budget.limits(self.rules.defaults).monthly
        noon = datetime(today.year, today.month, today.day, 12, tzinfo=ZoneInfo(self.budget.time_zone))
        noon_us = int(noon.timestamp()) * 1_000_000
        month = period_at(PeriodKind.MONTH, noon_us, self.budget.time_zone)
        day = period_at(PeriodKind.DAY, noon_us, self.budget.time_zone)
        if received >= month.end_us or received >= day.start_us - 15 * DAY_US + self.rules.horizon_us:
            return
        known = [back for back in range(1, 16) if today - timedelta(back) in held]
        # The first day known may have begun anywhere: it is not a full one.
        full = max(known, default=1) - 1
        if full < self.rules.forecast_days_min:
            return
        totals = defaultdict(int)
        spent = 0
        for (start, _), amount in self.amounts.items():
            totals[self._local(start).date()] += amount
            spent += amount if month.start_us <= start < month.end_us else 0
        count = 14 if full >= 14 else 7 if full >= 7 else full
        days = [totals[today - timedelta(back)] for back in range(1, count + 1)]
        daily = max(0, min(median_low(days), sum(days) // count))
        left = (period_at(PeriodKind.DAY, month.end_us - 1, self.budget.time_zone).start_us - day.start_us) / DAY_US
        projected = spent + max(0, daily - totals[today]) + round(left) * daily
        first = today.replace(day=1)
        if projected > budget > self.forecast_told.get(first, 0):
            self.forecast_told[first] = budget
            if spent < budget:
                self._tell(AlertKind.FORECAST_EXCEEDED, AlertState.ALARM, "", month, spent, budget, at, received)

    def _tell(
        self,
        kind: AlertKind,
        state: AlertState,
        service: str,
        period: Period,
        actual: int,
        limit: int | None,
        at: int,
        received: int,
    ) -> None:
        scope = f"service:{service}" if service else "total"
        self.told.append((kind, state, scope, period.start_us, actual, limit, at, received))

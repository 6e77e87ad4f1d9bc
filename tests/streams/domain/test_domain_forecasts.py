"""Forecasts one by one: 18 November 2026 with a dollar a day before it, and twelve days left."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.streams.domain.test_domain_partition import NOW, RULES, USD, Broker, event

from costledger.schemas import encode_alert
from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS

MONTH = period_at(PeriodKind.MONTH, NOW)
DAY = DAY_MICROSECONDS


class Month:
    """Events of ann in November, received when they occur unless said otherwise."""

    def __init__(self, monthly_usd: int, thresholds: tuple[Decimal, ...] = (Decimal(100),)) -> None:
        self.broker, self.partition = Broker(), PartitionTotals(RULES)
        self.thresholds = thresholds
        self.offset = self.version = 0
        self.set_budget(monthly_usd, NOW - 20 * DAY)

    def set_budget(self, monthly_usd: int, received: int = NOW) -> None:
        """The next version of the budget."""
        self.version += 1
        budget = Budget(
            user_id="ann",
            version=self.version,
            monthly_budget=monthly_usd * USD,
            alert_thresholds=self.thresholds,
            hourly_spike_limit=10_000 * USD,
        )
        self.partition.apply_budget("ann", budget, self.version, received)

    def spend(self, occurred_at: int, amount: int, received: int | None = None) -> None:
        """One event."""
        record = event(self.offset, "ann", amount, occurred_at)
        self.partition.add_event(record, self.offset, occurred_at if received is None else received)
        self.offset += 1

    def history(self, amounts: list[int]) -> None:
        """So much on each of the days before today, the nearest first."""
        for back in range(len(amounts), 0, -1):
            self.spend(NOW - back * DAY, amounts[back - 1])

    def forecasts(self) -> list[CostAlert]:
        """Flush; the forecasts since the last time."""
        before = len(self.broker.alerts)
        self.broker.write(self.partition)
        return [alert for alert in self.broker.alerts[before:] if alert.kind is AlertKind.FORECAST_EXCEEDED]

    def restart(self) -> None:
        """A new process with the state that landed."""
        self.partition = self.broker.recovered()


def test_a_forecast_is_told_at_the_event_that_makes_it_exceed_the_budget() -> None:
    """15 days, today and 12 days at a dollar come to the budget of 28 USD; a picodollar more exceeds it."""
    month = Month(28)
    month.history([USD] * 15)
    for number, amount in enumerate([USD // 2, USD // 2, 1, USD]):
        month.spend(NOW + number, amount)
    (alert,) = month.forecasts()
    assert (alert.state, alert.severity, alert.scope) == (AlertState.ALARM, Severity.WARNING, "total")
    assert (alert.actual, alert.limit, alert.budget_version) == (16 * USD + 1, 28 * USD, 1)
    assert (alert.period_start, alert.period_end, alert.late) == (MONTH.start_us, MONTH.end_us, False)
    assert (alert.occurred_at, alert.raised_at, alert.threshold_percent) == (NOW + 2, NOW + 2, None)
    assert "has spent 16.000000000001 USD in 2026-11 and will come to about 28.000000000001 USD" in alert.message
    assert encode_alert(alert)


def test_what_is_left_of_today_is_expected() -> None:
    """After its first event a day still counts as a whole one: 15 days, a dollar today and 12 more."""
    month = Month(28)
    month.history([USD] * 15)
    month.spend(NOW, 1)
    assert month.forecasts() == []
    month.set_budget(27)
    assert [alert.actual for alert in month.forecasts()] == [15 * USD + 1]


def test_a_forecast_is_told_once_across_restarts_and_falling_again() -> None:
    """A credit that lowers the projection does not make the next one news."""
    month = Month(28)
    month.history([USD] * 15)
    month.spend(NOW, 2 * USD)
    assert len(month.forecasts()) == 1
    month.restart()
    month.spend(NOW, -2 * USD)
    month.spend(NOW, 5 * USD)
    month.spend(NOW + DAY, 2 * USD)
    assert month.forecasts() == []


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_who_has_reached_the_budget_needs_no_forecast(in_one_batch: bool) -> None:
    """A jump over the budget is told as that, and a credit afterwards changes nothing."""
    month = Month(28)
    month.history([USD] * 15)
    month.spend(NOW, 14 * USD)
    if not in_one_batch:
        assert month.forecasts() == []
        month.restart()
    month.spend(NOW, -13 * USD)
    month.spend(NOW, 2 * USD)
    assert month.forecasts() == []
    assert [alert.kind for alert in month.broker.alerts if alert.scope == "total"] == [AlertKind.BUDGET_THRESHOLD]


def test_the_budget_counts_as_reached_without_a_threshold_of_it() -> None:
    """Also where the only threshold is another one."""
    month = Month(28, (Decimal(200),))
    month.history([USD] * 15)
    month.spend(NOW, 14 * USD)
    month.spend(NOW, -13 * USD)
    assert month.forecasts() == []


@pytest.mark.parametrize(("days", "is_told"), [(3, False), (4, True)])
def test_three_full_days_make_a_forecast(days: int, is_told: bool) -> None:
    """The first day of a user may have begun at any hour: it is not a full one."""
    month = Month(16)
    month.history([USD] * days)
    month.spend(NOW, USD)
    assert len(month.forecasts()) == is_told


def test_a_budget_of_nothing_is_not_forecast() -> None:
    """It is reached by the first picodollar, and a threshold tells that."""
    month = Month(0)
    month.history([USD] * 15)
    assert month.forecasts() == []


def test_quiet_weekends_count() -> None:
    """Five dollars on weekdays alone are 50 in two weeks: the days left come to 42.86, not to 60 USD."""
    weekdays = [5 * USD if (NOW - back * DAY) // DAY % 7 not in (2, 3) else 0 for back in range(1, 16)]
    assert sum(weekdays[:14]) == 50 * USD
    daily = 50 * USD // 14
    month = Month(200)
    month.history(weekdays)
    month.spend(NOW, 5 * USD)
    spent = sum(weekdays) + 5 * USD
    month.set_budget(-(-(spent + 12 * daily) // USD))
    assert month.forecasts() == []
    month.set_budget((spent + 12 * daily) // USD)
    assert [alert.actual for alert in month.forecasts()] == [spent]


def test_one_dear_day_makes_no_forecast() -> None:
    """The median of the days does not move: 20 USD once are 20 USD, not 20 USD a fortnight."""
    month = Month(48)
    month.history([USD, 20 * USD] + [USD] * 13)
    month.spend(NOW, USD)
    assert month.forecasts() == []
    month.spend(NOW, USD + 1)
    assert [alert.actual for alert in month.forecasts()] == [36 * USD + 1]


def test_a_changed_budget_is_forecast_at_once() -> None:
    """A lower one is told without an event; told again only at a higher amount than before."""
    month = Month(100)
    month.history([USD] * 15)
    month.spend(NOW, USD)
    assert month.forecasts() == []
    month.set_budget(20, NOW + 5)
    (lowered,) = month.forecasts()
    assert (lowered.budget_version, lowered.limit, lowered.occurred_at) == (2, 20 * USD, NOW + 5)
    month.set_budget(18)
    month.set_budget(20)
    assert month.forecasts() == []
    month.restart()
    month.set_budget(27)
    assert [(alert.budget_version, alert.limit) for alert in month.forecasts()] == [(5, 27 * USD)]


def test_the_first_event_of_a_new_day_decides_even_if_it_is_a_credit() -> None:
    """Yesterday has become a full day: what follows from it is told at this event, not at the flush."""
    month = Month(51)
    month.history([4 * USD] * 2 + [USD] * 2)
    month.spend(NOW, 4 * USD)
    month.spend(NOW + DAY, -1)
    month.spend(NOW + DAY + 1, -1)
    (alert,) = month.forecasts()
    assert alert.occurred_at == NOW + DAY


def test_the_first_event_of_a_day_may_exceed_the_budget_by_a_picodollar() -> None:
    """What the event adds is within what was expected of the day: it is told all the same, and at this event."""
    month = Month(17)
    month.history([USD] * 3 + [USD + 1])
    month.spend(NOW, USD // 4)
    month.spend(NOW + 1, USD // 4)
    assert [alert.occurred_at for alert in month.forecasts()] == [NOW]


def test_a_late_event_of_an_earlier_day_changes_what_is_expected() -> None:
    """Two dollars are left for it: it counts in the total, in what is left of today, and in each of the 12 days left."""
    month = Month(62)
    month.history([30 * USD, USD, 2 * USD, USD])
    month.spend(NOW, USD)
    assert month.forecasts() == []
    for number, amount in enumerate([USD // 14, 2 * USD // 14 - USD // 14, 1, 1]):
        month.spend(NOW - 3 * DAY + number, amount, received=NOW + number)
    (alert,) = month.forecasts()
    assert (alert.occurred_at, alert.raised_at) == (NOW - 3 * DAY + 2, NOW + 2)
    assert "about 62.000000000012 USD" in alert.message


def test_a_month_that_is_over_has_no_forecast() -> None:
    """Late events of last month are held against its budget, and nothing is left to be projected."""
    month = Month(28)
    month.history([USD] * 15)
    month.spend(NOW, 2 * USD, received=MONTH.end_us)
    assert month.forecasts() == []
    month.spend(NOW + 1, 2 * USD, received=MONTH.end_us - 1)
    assert len(month.forecasts()) == 1


def test_a_clock_set_back_by_weeks_stops_nothing() -> None:
    """Days that are gone have no outlook: a late budget finds none, and events go on."""
    month = Month(28)
    month.history([USD] * 15)
    month.spend(NOW, 1)
    assert month.forecasts() == []
    month.partition.add_event(event(100, "bob", USD, NOW + 50 * DAY), 100, NOW + 50 * DAY)
    assert month.forecasts() == []
    assert month.partition.users["ann"].calendar.days == {}
    month.set_budget(1, NOW)
    month.spend(NOW, USD // 2)
    assert month.forecasts() == []

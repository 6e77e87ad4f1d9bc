"""The stream's rules one by one: fences, budgets, lateness, spikes, and that each outlasts a restart."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.streams.domain.test_domain_edges import at, spikes
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD, Broker, event, totals_of

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.partition import Outcome, PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS

MONTH = period_at(PeriodKind.MONTH, NOW)
ALL_OF_IT = (Decimal(100),)


def budget(version: int, usd: int, **more: object) -> Budget:
    """A budget with the one threshold of 100 %."""
    given = {"monthly_budget": usd * USD, "alert_thresholds": ALL_OF_IT, **more}
    return Budget(user_id="ann", version=version, **given)  # type: ignore[arg-type]  # each is of its field's type


def budget_alerts(partition: PartitionTotals) -> list[CostAlert]:
    """The budget alerts of a flush."""
    return [alert for alert in partition.flush().alerts if alert.kind is AlertKind.BUDGET_THRESHOLD]


def spend(partition: PartitionTotals, *hours: tuple[int, int | None], first: int = 0) -> None:
    """One event for each (hours from now, amount), received when it occurred."""
    for number, (hour, amount) in enumerate(hours, first):
        partition.add_event(event(number, "ann", amount, NOW + hour * HOUR), number, NOW + hour * HOUR)


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_fence_of_a_user_is_the_highest_of_all_records(newest_first: bool) -> None:
    """An event that is in any of the user's records is not added again, in whatever order they come back."""
    broker, partition = Broker(), PartitionTotals(RULES)
    for offset, when in enumerate((MONTH.start_us - HOUR, NOW)):
        partition.add_event(event(offset, "ann", USD, when), offset, NOW)
        broker.write(partition)
    rows = sorted(
        ((offset, key, value) for key, (offset, value) in broker.state.items() if value), reverse=newest_first
    )
    partition = PartitionTotals(RULES)
    partition.restore((key, offset, value) for offset, key, value in rows)
    assert partition.add_event(event(1, "ann", USD, NOW), 1, NOW) is Outcome.REPLAYED


def test_a_budget_during_a_replay_does_not_lower_the_fence() -> None:
    """What was applied before the crash stays applied, whatever else is written while it is read again."""
    broker, partition = Broker(), PartitionTotals(RULES)
    for offset in range(5):
        partition.add_event(event(offset, "ann", USD, NOW), offset, NOW)
    broker.write(partition)
    partition = broker.recovered()
    assert partition.add_event(event(0, "ann", USD, NOW), 0, NOW) is Outcome.REPLAYED
    partition.apply_budget("ann", budget(1, 100), 0, NOW)
    partition.flush()
    assert partition.add_event(event(4, "ann", USD, NOW), 4, NOW) is Outcome.REPLAYED


def test_a_refused_event_moves_the_offset() -> None:
    """State written after a refusal says that it is complete up to the refused event."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, USD))
    partition.skip_event(7)
    assert partition.flush().source_offset == 7


def test_a_version_counts_once() -> None:
    """Another budget of the same version is not put in force."""
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", budget(2, 5), 0, NOW)
    partition.apply_budget("ann", budget(2, 1), 1, NOW)
    assert partition.users["ann"].budget.monthly_budget == 5 * USD


def test_a_budget_is_not_held_against_months_that_are_over() -> None:
    """A lower budget tells nothing about last month, and a late event there meets the budget of that time."""
    broker, partition = Broker(), PartitionTotals(RULES)
    before = MONTH.start_us - 1
    partition.apply_budget("ann", budget(1, 100), 0, before)
    partition.add_event(event(0, "ann", 9 * USD, before), 0, before)
    partition.apply_budget("ann", budget(2, 5), 1, MONTH.start_us)
    broker.write(partition)
    partition.add_event(event(1, "ann", USD, NOW), 1, NOW)
    broker.write(partition)
    assert broker.alerts == []
    for each in (partition, broker.recovered()):
        each.add_event(event(2, "ann", 91 * USD, before), 2, MONTH.start_us)
        (alert,) = budget_alerts(each)
        assert (alert.budget_version, alert.limit, alert.actual, alert.late) == (1, 100 * USD, 100 * USD, True)


def test_what_waits_is_counted_before_a_budget_takes_force() -> None:
    """The alert of a lowered budget is caused by the budget, with everything spent until then."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, 7 * USD))
    partition.apply_budget("ann", budget(1, 7), 0, NOW + 5)
    (alert,) = budget_alerts(partition)
    assert (alert.actual, alert.occurred_at, alert.raised_at) == (7 * USD, NOW + 5, NOW + 5)


def test_a_budget_of_nothing_is_reached_by_the_first_picodollar() -> None:
    """Usage that costs nothing reaches no threshold."""
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", budget(1, 0), 0, NOW)
    spend(partition, (0, 0))
    assert budget_alerts(partition) == []
    spend(partition, (0, 1), first=1)
    assert [alert.actual for alert in budget_alerts(partition)] == [1]


def test_an_alert_is_late_from_the_end_of_its_period_on() -> None:
    """An event received in the very microsecond in which its hour and month end is late for both."""
    for early, late in ((1, False), (0, True)):
        partition = PartitionTotals(RULES)
        received = MONTH.end_us - early
        partition.add_event(event(0, "ann", 30 * USD, MONTH.end_us - 10), 0, received)
        alerts = partition.flush().alerts
        assert {alert.kind for alert in alerts} == {AlertKind.BUDGET_THRESHOLD, AlertKind.HOURLY_SPIKE}
        assert {alert.late for alert in alerts} == {late}


def test_a_spike_alert_names_the_limit_that_was_passed() -> None:
    """The limit is the user's own, and the severity that of the absolute rule."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, 25 * USD))
    (alert,) = [alert for alert in partition.flush().alerts if alert.kind is AlertKind.HOURLY_SPIKE]
    assert (alert.limit, alert.threshold_percent) == (20 * USD, None)


def test_a_small_hour_is_no_relative_spike() -> None:
    """Five times next to nothing is below one dollar, and no spike."""
    partition = PartitionTotals(RULES)
    spend(partition, *((hour, USD // 100) for hour in range(24)), (24, USD - 1))
    assert spikes(partition) == []
    spend(partition, (24, 1), first=25)
    assert spikes(partition) == [(AlertState.ALARM, 1)]


def test_hours_that_cost_nothing_are_not_usual() -> None:
    """The usual hour is the median of the hours with cost."""
    partition = PartitionTotals(RULES)
    spend(partition, *((hour, USD // 2 if hour % 2 else 0) for hour in range(48)), (48, 2 * USD))
    assert spikes(partition) == []


def test_hours_more_than_a_week_ago_are_not_usual() -> None:
    """What a user did eight days ago says nothing about today."""
    partition = PartitionTotals(RULES)
    spend(partition, *((hour - 8 * 24, USD // 2) for hour in range(24)), (0, 3 * USD))
    assert spikes(partition) == []
    spend(partition, *((hour - 7 * 24 + 24, USD // 2) for hour in range(24)), (1, 3 * USD), first=30)
    assert spikes(partition) == [(AlertState.ALARM, 3)]


def test_an_hour_at_the_clearing_level_keeps_a_spike_going() -> None:
    """An hour of exactly 10 USD does not end a spike; one of a picodollar less does."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, 21 * USD), (1, 10 * USD), (2, 25 * USD))
    assert spikes(partition) == [(AlertState.ALARM, 21)]
    partition = PartitionTotals(RULES)
    spend(partition, (0, 21 * USD), (1, 10 * USD - 1), (2, 25 * USD))
    assert spikes(partition) == [(AlertState.ALARM, 21), (AlertState.OK, 21), (AlertState.ALARM, 25)]


def test_a_spike_after_one_whose_end_was_told_is_another_one() -> None:
    """Also where a late event, or a lower limit, makes it look as if the first one had never ended."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, 25 * USD), (1, 9 * USD), (2, 1))
    assert spikes(partition) == [(AlertState.ALARM, 25), (AlertState.OK, 25)]
    partition.add_event(event(3, "ann", 3 * USD, NOW + HOUR), 3, NOW + 2 * HOUR)
    spend(partition, (2, 30 * USD - 1), first=4)
    assert spikes(partition) == [(AlertState.ALARM, 30)]
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, hourly_spike_limit=20 * USD), 0, NOW)
    spend(partition, (0, 25 * USD), *((hour, 2 * USD) for hour in range(1, 6)))
    assert spikes(partition) == [(AlertState.ALARM, 25), (AlertState.OK, 25)]
    partition.apply_budget("ann", Budget(user_id="ann", version=2, hourly_spike_limit=3 * USD), 1, NOW + 5 * HOUR)
    spend(partition, (6, 4 * USD), first=6)
    assert spikes(partition) == [(AlertState.ALARM, 4)]


def test_a_late_event_before_a_spike_does_not_end_it() -> None:
    """Only a later hour can tell that a spike is over."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, 25 * USD))
    assert spikes(partition) == [(AlertState.ALARM, 25)]
    partition.add_event(event(1, "ann", 1, NOW - 5 * HOUR), 1, NOW)
    assert spikes(partition) == []


@pytest.mark.parametrize("high_hours", [1, 3])
def test_the_end_of_a_spike_is_told_once_across_restarts(high_hours: int) -> None:
    """Neither the alarm nor its end is told again by a new process, however many hours it went on."""
    broker, partition = Broker(), PartitionTotals(RULES)
    high = [(hour, 25) for hour in range(high_hours)]
    for number, (hour, usd) in enumerate([*high, (20, 1), (30, 1), (31, 1)]):
        spend(partition, (hour, usd * USD), first=number)
        broker.write(partition)
        partition = broker.recovered()
    told = [alert.state for alert in broker.alerts if alert.kind is AlertKind.HOURLY_SPIKE]
    assert told == [AlertState.ALARM, AlertState.OK]


def test_what_was_told_as_unpriced_outlasts_a_restart() -> None:
    """A new process does not tell it again the same day; the next day it does."""
    broker, partition = Broker(), PartitionTotals(RULES)
    for number, hour in enumerate((0, 1, 25)):
        spend(partition, (hour, None), first=number)
        broker.write(partition)
        partition = broker.recovered()
    assert [(alert.kind, alert.occurred_at) for alert in broker.alerts] == [
        (AlertKind.UNPRICED_USAGE, NOW),
        (AlertKind.UNPRICED_USAGE, NOW + 25 * HOUR),
    ]


def test_a_change_of_zone_is_written_whole() -> None:
    """After it the stored state is that in memory, and every hour is shown under its new label."""
    broker, partition = Broker(), PartitionTotals(RULES)
    times = [MONTH.start_us + hour * HOUR for hour in (2, 12, 40)]
    for offset, time in enumerate(times):
        partition.add_event(event(offset, "ann", USD, time), offset, NOW)
    broker.write(partition)
    zone = "America/Los_Angeles"
    partition.apply_budget("ann", budget(1, 100, time_zone=zone), 0, NOW)
    shown = {(view.kind, view.label) for view in partition.flush().views if view.amounts is not None}
    assert {(PeriodKind.HOUR, period_at(PeriodKind.HOUR, time, zone).label) for time in times} <= shown

    partition = broker.recovered()
    partition.apply_budget("ann", budget(1, 100, time_zone=zone), 0, NOW)
    broker.write(partition)
    assert totals_of(broker.recovered()) == totals_of(partition)
    october = period_at(PeriodKind.MONTH, times[0], zone).label
    assert totals_of(partition)["ann", PeriodKind.MONTH, october] == USD


def test_hours_that_become_one_keep_what_was_told() -> None:
    """Two hours of Lord Howe's change of clocks are one in UTC, and its spike is not told again."""
    partition = PartitionTotals(RULES)
    zone = "Australia/Lord_Howe"
    half = period_at(PeriodKind.HOUR, at("2026-04-04T15:00:00Z"), zone)
    received = half.end_us + 4 * HOUR
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone=zone), 0, received)
    assert half.end_us - half.start_us == HOUR // 2
    partition.add_event(event(0, "ann", USD, half.start_us), 0, received)
    partition.add_event(event(1, "ann", 25 * USD, half.end_us), 1, received)
    assert spikes(partition) == [(AlertState.ALARM, 25)]
    partition.apply_budget("ann", Budget(user_id="ann", version=2), 1, received)
    partition.add_event(event(2, "ann", USD, half.start_us), 2, received)
    assert spikes(partition) == []
    label = period_at(PeriodKind.HOUR, half.start_us).label
    assert totals_of(partition)["ann", PeriodKind.HOUR, label] == 27 * USD


def test_only_what_changed_is_shown_again() -> None:
    """A flush shows the hour that was added to, its day and its month, and no other hour."""
    partition = PartitionTotals(RULES)
    spend(partition, (0, USD), (1, USD))
    partition.flush()
    spend(partition, (1, USD), first=2)
    shown = [(view.kind, sum((view.amounts or {}).values())) for view in partition.flush().views]
    assert sorted(shown) == [(PeriodKind.DAY, 3 * USD), (PeriodKind.HOUR, 2 * USD), (PeriodKind.MONTH, 3 * USD)]


def test_events_at_the_edge_of_the_horizon_count() -> None:
    """Forty days to the microsecond are not yet history."""
    partition = PartitionTotals(RULES)
    edge = NOW - 40 * DAY_MICROSECONDS
    assert partition.add_event(event(0, "ann", USD, edge), 0, NOW) is Outcome.APPLIED
    assert partition.add_event(event(1, "ann", USD, edge - 1), 1, NOW) is Outcome.HISTORY

"""Anomalies one by one: what is usual, what is unusual, what goes on, and what a restart must not forget."""

from __future__ import annotations

import msgpack
import pytest
from tests.streams.domain.test_domain_edges import at
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD, Broker, event

from costledger.schemas import encode_alert
from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.anomalies import SERVICES_MAX
from costledger.streams.domain.buckets import QUARTER_MICROSECONDS, hour_key_of, labels_before
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

#: With samples all alike, a deviation is 30 % of them, and eight of them are allowed.
LIMIT = 3_400_000_000_000
HIGH_BUDGET = Budget(user_id="ann", version=1, monthly_budget=10_000 * USD, hourly_spike_limit=10_000 * USD)


class Log:
    """Events of ann, received when they occur unless said otherwise; offsets count up."""

    def __init__(self, rules: Rules = RULES, budget: Budget = HIGH_BUDGET) -> None:
        self.broker, self.partition, self.rules = Broker(), PartitionTotals(rules), rules
        self.partition.apply_budget("ann", budget, 0, NOW)
        self.offset = 0

    def spend(self, occurred_at: int, amount: int, service: str = "openai", received: int | None = None) -> None:
        """One event."""
        record = event(self.offset, "ann", amount, occurred_at, service)
        self.partition.add_event(record, self.offset, occurred_at if received is None else received)
        self.offset += 1

    def history(
        self, days: int = 36, hours: tuple[int, ...] = (0,), amount: int = USD, service: str = "openai"
    ) -> None:
        """The same amount on each day before now, in these hours from now."""
        for day in range(days, 0, -1):
            for hour in hours:
                self.spend(NOW - day * DAY_MICROSECONDS + hour * HOUR, amount, service)

    def alerts(self) -> list[CostAlert]:
        """Flush; the anomalies since the last time."""
        before = len(self.broker.alerts)
        self.broker.write(self.partition)
        return [alert for alert in self.broker.alerts[before:] if alert.kind is AlertKind.ANOMALY]

    def restart(self) -> None:
        """A new process with the state that landed."""
        self.partition = self.broker.recovered(self.rules)


def states(alerts: list[CostAlert]) -> list[tuple[AlertState, int]]:
    """(state, start of the hour) of each."""
    return [(alert.state, alert.period_start) for alert in alerts]


def start(hour: int = 0) -> int:
    """When an hour from now begins."""
    return period_at(PeriodKind.HOUR, NOW + hour * HOUR).start_us


def test_an_hour_is_an_anomaly_from_the_first_picodollar_above_its_limit() -> None:
    """The limit may be reached; the event that passes it is named, with the usual amount in words."""
    log = Log()
    log.history()
    log.spend(NOW, LIMIT - 1)
    log.spend(NOW + 1, 1)
    assert log.alerts() == []
    log.spend(NOW + 2, 1)
    log.spend(NOW + 3, USD)
    (alert,) = log.alerts()
    assert (alert.state, alert.severity, alert.scope) == (AlertState.ALARM, Severity.WARNING, "service:openai")
    assert (alert.actual, alert.limit, alert.occurred_at, alert.late) == (LIMIT + 1, LIMIT, NOW + 2, False)
    assert (alert.period_start, alert.budget_version, alert.threshold_percent) == (start(), None, None)
    assert "has spent 3.400000000001 USD on openai" in alert.message
    assert "usual are 1.00 USD, and more than 3.40 USD is unusual" in alert.message
    assert encode_alert(alert)


def test_within_one_batch_the_limit_is_passed_at_its_event() -> None:
    """The same without a flush in between, and with another service whose amounts do not count."""
    log = Log()
    log.history()
    for number, (amount, service) in enumerate([(LIMIT, "openai"), (9 * USD, "aws-s3"), (1, "openai"), (1, "openai")]):
        log.spend(NOW + number, amount, service)
    (alert,) = log.alerts()
    assert (alert.actual, alert.occurred_at) == (LIMIT + 1, NOW + 2)


def test_a_credit_does_not_hide_an_anomaly() -> None:
    """What was passed and credited in the same batch has still been passed."""
    log = Log()
    log.history()
    log.spend(NOW, LIMIT + 1)
    log.spend(NOW + 1, -LIMIT)
    assert [alert.actual for alert in log.alerts()] == [LIMIT + 1]


@pytest.mark.parametrize("restarts", [False, True])
def test_an_anomaly_that_goes_on_is_told_once_and_its_end_once(restarts: bool) -> None:
    """Halfway back to the usual it still goes on, whatever dies; a picodollar less is its end."""
    log = Log()
    log.history(hours=(0, 1, 2, 3, 4, 5))
    halfway = (USD + LIMIT) // 2
    told = []
    for hour, amount in enumerate([4 * USD, halfway, 5 * USD, halfway - 1, USD, 6 * USD]):
        log.spend(NOW + hour * HOUR, amount)
        told += log.alerts()
        if restarts:
            log.restart()
    assert states(told) == [
        (AlertState.ALARM, start(0)),
        (AlertState.OK, start(2)),
        (AlertState.ALARM, start(5)),
    ]
    assert told[1].actual == 5 * USD
    assert len({alert.alert_id for alert in told}) == 3


@pytest.mark.parametrize("restarts", [False, True])
def test_an_anomaly_after_one_whose_end_was_told_is_another_one(restarts: bool) -> None:
    """Also where a late event makes it look as if the first one had never ended."""
    log = Log()
    log.history(hours=(0, 1, 2))
    halfway = (USD + LIMIT) // 2
    log.spend(NOW, 4 * USD)
    log.spend(NOW + HOUR, halfway - 1)
    log.spend(NOW + 2 * HOUR, 1)
    assert states(log.alerts()) == [(AlertState.ALARM, start(0)), (AlertState.OK, start(0))]
    if restarts:
        log.restart()
    log.spend(NOW + HOUR, 1, received=NOW + 2 * HOUR)
    log.spend(NOW + 2 * HOUR, 5 * USD)
    assert states(log.alerts()) == [(AlertState.ALARM, start(2))]


def test_an_anomaly_ends_with_an_hour_without_the_service() -> None:
    """Another service's event in a later hour tells it."""
    log = Log()
    log.history()
    log.spend(NOW, 4 * USD)
    log.spend(NOW + HOUR, 1, "aws-s3")
    assert states(log.alerts()) == [(AlertState.ALARM, start())]
    log.spend(NOW + 2 * HOUR, 1, "aws-s3")
    assert states(log.alerts()) == [(AlertState.OK, start())]


def test_an_anomaly_of_an_hour_that_is_over_is_late() -> None:
    """A late event counts in its own hour, against what was usual at that hour's first event."""
    log = Log()
    log.history()
    log.spend(NOW, USD)
    log.spend(NOW + 2 * HOUR, USD)
    assert log.alerts() == []
    log.spend(NOW + 1, 3 * USD, received=NOW + 2 * HOUR)
    (alert,) = log.alerts()
    assert (alert.late, alert.actual, alert.period_start) == (True, 4 * USD, start())


def test_late_events_do_not_move_what_was_usual() -> None:
    """The limit of an hour is that of its first event, also after a restart."""
    log = Log()
    log.history()
    log.spend(NOW, 1)
    log.alerts()
    log.restart()
    for day in range(1, 36):
        log.spend(NOW - day * DAY_MICROSECONDS, 100 * USD, received=NOW)
    log.alerts()
    log.spend(NOW + 1, 4 * USD)
    assert [alert.limit for alert in log.alerts()] == [LIMIT]


@pytest.mark.parametrize(("days", "is_told"), [(6, False), (11, False), (12, True)])
def test_without_a_week_and_twelve_hours_with_cost_nothing_is_usual(days: int, is_told: bool) -> None:
    """A user of six days, or a service of eleven hours, has no usual hour; twelve are enough."""
    log = Log()
    log.spend(NOW - days * DAY_MICROSECONDS, 0, "other")
    for day in range(days, 0, -1):
        # Each day in another hour: the hour of the day is as good as new.
        log.spend(NOW - day * DAY_MICROSECONDS + (day % 12 - 6) * HOUR, USD)
    if days >= 7:
        log.spend(NOW - 14 * DAY_MICROSECONDS, 0, "other", received=NOW - DAY_MICROSECONDS)
    log.spend(NOW, 50 * USD)
    assert [alert.scope for alert in log.alerts()] == ["service:openai"] * is_told


def test_each_hour_of_the_week_has_a_usual_amount_of_its_own() -> None:
    """What is usual on Mondays is unusual on other days, from the third week on."""
    log = Log()
    for day in range(36, 0, -1):
        log.spend(NOW - day * DAY_MICROSECONDS, 50 * USD if day % 7 == 0 else USD)
    log.alerts()
    log.spend(NOW, 60 * USD)
    log.spend(NOW + DAY_MICROSECONDS, 60 * USD)
    assert [(alert.period_start, alert.limit) for alert in log.alerts() if alert.state is AlertState.ALARM] == [
        (start(24), LIMIT)
    ]


def test_a_week_of_holidays_says_nothing() -> None:
    """Two of the last three weeks without any event do not make usage unusual."""
    log = Log()
    for day in range(36, 0, -1):
        if not 8 <= day <= 21:
            log.spend(NOW - day * DAY_MICROSECONDS, USD)
    log.spend(NOW, LIMIT)
    assert log.alerts() == []
    log.spend(NOW, 1)
    assert [alert.limit for alert in log.alerts()] == [LIMIT]


def test_less_is_unusual_at_an_hour_at_which_the_service_is_never_used() -> None:
    """Four deviations instead of eight, of the hours with cost."""
    log = Log()
    log.history(hours=(-3,))
    log.spend(NOW, 2 * USD + USD // 5)
    assert log.alerts() == []
    log.spend(NOW, 1)
    assert [alert.limit for alert in log.alerts()] == [2 * USD + USD // 5]


def test_a_small_excess_is_no_anomaly() -> None:
    """Eight times 0.02 USD more than usual is the least that is told."""
    log = Log()
    log.history(amount=10**9)
    log.spend(NOW, 10**9 + 8 * USD // 50)
    assert log.alerts() == []
    log.spend(NOW, 1)
    assert len(log.alerts()) == 1


def test_no_more_than_so_many_services_of_an_hour_are_watched() -> None:
    """The state of an hour is bounded: the first 32 services are watched, and all are counted."""
    log = Log()
    services = [f"service-{number:02d}" for number in range(SERVICES_MAX + 1)]
    for service in services:
        log.history(days=12, service=service)
    log.spend(NOW - 14 * DAY_MICROSECONDS, 0, received=NOW)
    for service in services:
        log.spend(NOW, 50 * USD, service)
    assert {alert.scope for alert in log.alerts()} == {f"service:{service}" for service in services[:-1]}
    hour = log.partition.users["ann"].calendar.hour(NOW // (4 * QUARTER_MICROSECONDS) * 4)
    assert hour is not None
    assert len(hour.baselines) == SERVICES_MAX
    assert hour.total == 50 * USD * len(services)


def test_hours_of_a_day_are_found_where_clocks_change() -> None:
    """An hour that clocks skip is not there; of one that comes twice the first is taken."""
    berlin = "Europe/Berlin"
    assert hour_key_of("2026-03-29", "02", berlin) is None
    assert hour_key_of("2026-03-29", "03", berlin) == at("2026-03-29T01:00:00Z") // QUARTER_MICROSECONDS
    assert hour_key_of("2026-10-25", "02", berlin) == at("2026-10-25T00:00:00Z") // QUARTER_MICROSECONDS
    assert labels_before("2026-03-01", 2) == ("2026-02-28", "2026-02-27")


def test_the_hour_of_the_week_follows_the_clocks_of_the_zone() -> None:
    """After clocks went back, nine o'clock is compared to nine o'clock."""
    zone = "America/New_York"
    log = Log(budget=Budget(user_id="ann", version=1, monthly_budget=10_000 * USD, time_zone=zone))
    nine = period_at(PeriodKind.HOUR, at("2026-10-01T13:00:00Z"), zone)
    assert nine.label == "2026-10-01T09"
    for day in range(36):
        hour = period_at(PeriodKind.HOUR, nine.start_us + day * DAY_MICROSECONDS, zone)
        moved = HOUR if hour.label.endswith("08") else 0
        log.spend(hour.start_us + moved, USD)
        log.spend(hour.start_us + moved - HOUR, 10**10)
    log.spend(at("2026-11-06T14:00:00Z"), LIMIT)
    assert log.alerts() == []
    log.spend(at("2026-11-07T13:00:00Z"), LIMIT)
    assert [alert.actual for alert in log.alerts()] == [LIMIT]


def test_hours_that_become_one_keep_what_was_told_of_their_services() -> None:
    """After a change between zones half an hour apart an anomaly is not told again, and ends once."""
    log = Log(budget=Budget(user_id="ann", version=1, monthly_budget=10_000 * USD, time_zone="Asia/Kolkata"))
    log.history()
    first = period_at(PeriodKind.HOUR, NOW).start_us
    log.spend(first + HOUR * 3 // 4, 4 * USD, received=first + 2 * HOUR)
    assert len(log.alerts()) == 1
    log.partition.apply_budget("ann", Budget(user_id="ann", version=2, monthly_budget=10_000 * USD), 1, NOW + 2 * HOUR)
    log.spend(first + HOUR // 4, 4 * USD, received=first + 2 * HOUR)
    assert log.alerts() == []
    log.restart()
    log.spend(first + 3 * HOUR, 1)
    log.spend(first + 5 * HOUR, 1)
    assert [alert.state for alert in log.alerts()] == [AlertState.OK]


def test_the_state_of_the_release_before_is_read() -> None:
    """Hours and months without what anomalies and forecasts remember: their services are not judged, new ones are."""
    rows = [["openai", "o", 5 * USD], ["openai", "p", 7]]
    hour = HourTotals.of_stored(msgpack.packb([rows, 1, USD]))
    assert (hour.total, hour.flags, hour.usual, hour.baselines) == (5 * USD + 7, 1, USD, {"openai": None})
    month = MonthTotals.of_stored(msgpack.packb([rows, {"75": 3}, 4, [["75", 3]]]))
    assert (month.total, month.version, month.forecast) == (5 * USD + 7, 4, -1)

    log = Log()
    log.history()
    log.spend(NOW, USD)
    log.alerts()
    for key, (offset, value) in log.broker.state.items():
        if key.startswith(b"d\x00") and value is not None:
            hours, unpriced = msgpack.unpackb(value, strict_map_key=False)
            before = {hour_key: msgpack.packb(msgpack.unpackb(data)[:3]) for hour_key, data in hours.items()}
            log.broker.state[key] = (offset, msgpack.packb([before, unpriced]))
        elif key.startswith(b"m\x00") and value is not None:
            log.broker.state[key] = (offset, msgpack.packb(msgpack.unpackb(value)[:4]))
    log.restart()
    log.spend(NOW + 1, 4 * USD)
    assert log.alerts() == []
    log.spend(NOW + DAY_MICROSECONDS, 4 * USD)
    log.restart()
    log.spend(NOW + DAY_MICROSECONDS, 4 * USD)
    assert states(log.alerts()) == [(AlertState.ALARM, start(24))]


def test_totals_beyond_64_bits_have_baselines() -> None:
    """A service of ten million dollars an hour is watched, and its limit outlasts a restart."""
    log = Log()
    log.history(amount=10**7 * USD)
    log.spend(NOW, 1)
    log.alerts()
    log.restart()
    log.spend(NOW, 4 * 10**7 * USD)
    assert [alert.limit for alert in log.alerts()] == [34 * 10**6 * USD]

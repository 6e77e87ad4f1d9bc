"""The stream's domain against a naive model: one event at a time, everything added up again each time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.ids import derived_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.partition import Outcome, PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

USD = 10**12
HOUR = 3_600_000_000
NOW = 1_795_000_000_000_000  # 18 November 2026, within a month and within a day
#: Hardly any user stays decoded between flushes.
RULES = Rules(recent_events_max=5000, active_users_max=1)


def event(number: int, user: str, amount: int | None, at: int, service: str = "openai", operation: str = "o") -> dict:
    """An event record as the codec gives it."""
    return {
        "event_id": str(derived_event_id(at, str(number))),
        "user_id": user,
        "service": service,
        "operation": operation,
        "amount": amount,
        "occurred_at": at,
        "reverses_event_id": None,
    }


def totals_of(partition: PartitionTotals) -> dict[tuple[str, str, str], int]:
    """Every total by user, kind of period and label."""
    views = chain.from_iterable(partition.views())
    return {(view.user_id, view.kind, view.label): sum((view.amounts or {}).values()) for view in views}


@dataclass
class Broker:
    """State as the changelog would hold it: the higher source offset wins for each key."""

    state: dict[bytes, tuple[int, bytes | None]] = field(default_factory=dict)
    alerts: list[CostAlert] = field(default_factory=list)

    def write(self, partition: PartitionTotals, groups_kept: int | None = None) -> None:
        """Flush; with `groups_kept` the process dies after so many groups have landed."""
        flush = partition.flush()
        self.alerts += flush.alerts
        for group in flush.groups[:groups_kept]:
            for key, value in group:
                before = self.state.get(key, (-1, None))[0]
                self.state[key] = (max(before, flush.source_offset), value)

    def recovered(self, rules: Rules = RULES) -> PartitionTotals:
        """A new process with the state that landed."""
        partition = PartitionTotals(rules)
        partition.restore((key, offset, value) for key, (offset, value) in self.state.items() if value is not None)
        return partition


class Naive:
    """What must come out, computed from the whole list of events after each of them."""

    def __init__(self, budgets: dict[str, Budget]) -> None:
        self.budgets = budgets
        self.totals: dict[tuple[str, str, str], int] = defaultdict(int)
        self.seen: set[str] = set()
        self.told: set[tuple] = set()
        self.over: set[tuple[str, int]] = set()

    def add(self, record: dict, received: int) -> None:
        if record["occurred_at"] < received - RULES.horizon_us or record["event_id"] in self.seen:
            return
        self.seen.add(record["event_id"])
        if record["amount"] is None:
            return
        user, at = record["user_id"], record["occurred_at"]
        budget = self.budgets.get(user, Budget(user_id=user))
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            self.totals[user, kind, period_at(kind, at, budget.time_zone).label] += record["amount"]
        month = period_at(PeriodKind.MONTH, at, budget.time_zone)
        total = self.totals[user, PeriodKind.MONTH, month.label]
        for percent, amount in budget.limits(RULES.defaults).thresholds:
            if total >= amount and total > 0:
                self.told.add((user, AlertKind.BUDGET_THRESHOLD, month.start_us, percent))
        self._spike(user, at, budget)

    def _spike(self, user: str, at: int, budget: Budget) -> None:
        hour = period_at(PeriodKind.HOUR, at, budget.time_zone)
        limit = budget.limits(RULES.defaults).hourly_spike
        if self.totals[user, PeriodKind.HOUR, hour.label] <= limit or (user, hour.start_us) in self.over:
            return
        before = hour.previous()
        while self.totals.get((user, PeriodKind.HOUR, before.label), 0) >= (limit + 1) // 2:
            if (user, before.start_us) in self.over:
                break
            before = before.previous()
        if (user, before.start_us) not in self.over:
            self.told.add((user, AlertKind.HOURLY_SPIKE, hour.start_us, None))
        self.over.add((user, hour.start_us))


def told(alerts: list[CostAlert]) -> set[tuple]:
    """Alarms in the form that the naive model has them."""
    return {
        (alert.user_id, alert.kind, alert.period_start, alert.threshold_percent)
        for alert in alerts
        if alert.state is AlertState.ALARM and alert.kind is not AlertKind.UNPRICED_USAGE
    }


USERS = ("ann", "bob", "cid")
BUDGETS = {
    "bob": Budget(user_id="bob", version=1, tier="free", time_zone="Asia/Kolkata"),
    "cid": Budget(
        user_id="cid",
        version=1,
        monthly_budget=100 * USD,
        alert_thresholds=(Decimal("0.5"), Decimal(50), Decimal(120)),
        time_zone="America/New_York",
        hourly_spike_limit=3 * USD,
    ),
}

one_event = st.tuples(
    st.sampled_from(USERS),
    st.one_of(
        st.none(),
        st.integers(0, 3 * USD),
        st.integers(-2 * USD, 30 * USD),
        st.sampled_from([USD // 2, 5 * USD, 20 * USD, 20 * USD + 1]),
    ),
    st.one_of(st.integers(0, 6 * HOUR), st.integers(0, 45 * DAY_MICROSECONDS)),
    st.sampled_from(["openai", "aws-s3"]),
)


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(one_event, max_size=60),
    repeats=st.lists(st.integers(0, 59), max_size=10),
    flush_after=st.sets(st.integers(0, 80), max_size=20),
    crashes=st.dictionaries(st.integers(0, 80), st.integers(0, 6), max_size=4),
)
def test_totals_and_alerts_equal_the_naive_model(events, repeats, flush_after, crashes) -> None:
    """Wherever flushes and crashes fall, totals and alerts are those of the plain computation, each id once."""
    log = [
        (event(number, user, amount, NOW - age, service), NOW + number * 1_000_000)
        for number, (user, amount, age, service) in enumerate(events)
    ]
    log += [(log[index][0], NOW + 100_000_000) for index in repeats if index < len(log)]
    naive = Naive(BUDGETS)
    broker = Broker()
    partition = PartitionTotals(RULES)
    for offset, (user, budget) in enumerate(BUDGETS.items()):
        partition.apply_budget(user, budget, offset, NOW)
    broker.write(partition)
    for record, received in log:
        naive.add(record, received)

    committed = offset = 0
    while offset < len(log):
        record, received = log[offset]
        partition.add_event(record, offset, received)
        offset += 1
        if offset in crashes:
            broker.write(partition, groups_kept=crashes.pop(offset))
            partition = broker.recovered()
            offset = committed
        elif offset in flush_after:
            broker.write(partition)
            committed = offset
    broker.write(partition)

    assert {key: value for key, value in totals_of(partition).items() if value or naive.totals.get(key)} == {
        key: value for key, value in naive.totals.items() if value
    }
    assert told(broker.alerts) == naive.told
    by_id: dict[UUID, CostAlert] = {}
    for alert in broker.alerts:
        # Sent again after a crash: with the same id it says the same.
        assert by_id.setdefault(alert.alert_id, alert) == alert
    assert totals_of(broker.recovered()) == totals_of(partition)


def test_a_jump_over_three_thresholds_records_each() -> None:
    """A free user who goes from nothing past 75, 90 and 100 % at once gets three alerts with the same actual."""
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, tier="free"), 0, NOW)
    partition.add_event(event(0, "ann", 6 * USD, NOW), 0, NOW)
    alerts = partition.flush().alerts
    assert [alert.threshold_percent for alert in alerts] == [75, 90, 100]
    assert {alert.actual for alert in alerts} == {6 * USD}
    assert [alert.limit for alert in alerts] == [3_750_000_000_000, 4_500_000_000_000, 5 * USD]


def test_alerts_are_decided_at_the_event_that_reaches_the_threshold() -> None:
    """Within one batch, each alert has the total and the time of the very event that reached its threshold."""
    partition = PartitionTotals(RULES)
    for offset in range(10):
        partition.add_event(event(offset, "ann", USD, NOW + offset), offset, NOW + offset)
    alerts = partition.flush().alerts
    assert [(alert.threshold_percent, alert.actual, alert.occurred_at) for alert in alerts] == [
        (75, 8 * USD, NOW + 7),
        (90, 9 * USD, NOW + 8),
        (100, 10 * USD, NOW + 9),
    ]


def test_a_credit_does_not_hide_a_threshold_that_was_reached() -> None:
    """Spend that reaches the budget and is credited in the same batch has still reached it."""
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", 10 * USD, NOW), 0, NOW)
    partition.add_event(event(1, "ann", -10 * USD, NOW), 1, NOW)
    assert len(partition.flush().alerts) == 3
    assert set(totals_of(partition).values()) == {0}


def test_a_spike_that_goes_on_is_told_once_and_its_end_once() -> None:
    """An hour over 20 USD alarms; the next high hour does not; after an hour below 10 USD the end is told."""
    partition = PartitionTotals(RULES)
    amounts = [21, 15, 25, 0, 3, 30]
    for hour, usd in enumerate(amounts):
        partition.add_event(event(hour, "ann", usd * USD, NOW + hour * HOUR), hour, NOW + hour * HOUR)
    spikes = [alert for alert in partition.flush().alerts if alert.kind is AlertKind.HOURLY_SPIKE]
    assert [(alert.state, alert.actual // USD) for alert in spikes] == [
        (AlertState.ALARM, 21),
        (AlertState.OK, 25),
        (AlertState.ALARM, 30),
    ]


def test_exactly_twenty_dollars_is_no_spike() -> None:
    """The limit must be passed, not reached."""
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", 20 * USD, NOW), 0, NOW)
    assert AlertKind.HOURLY_SPIKE not in {alert.kind for alert in partition.flush().alerts}
    partition.add_event(event(1, "ann", 1, NOW), 1, NOW)
    assert [alert.kind for alert in partition.flush().alerts] == [AlertKind.HOURLY_SPIKE]


def test_five_times_the_usual_hour_is_a_spike() -> None:
    """With a day of hours at 0.50 USD, an hour that comes to 2.50 USD is told, long before 20 USD."""
    partition = PartitionTotals(RULES)
    for hour in range(24):
        partition.add_event(event(hour, "ann", USD // 2, NOW + hour * HOUR), hour, NOW + hour * HOUR)
    partition.add_event(event(24, "ann", 5 * USD // 2 - 1, NOW + 24 * HOUR), 24, NOW + 24 * HOUR)
    assert not [alert for alert in partition.flush().alerts if alert.kind is AlertKind.HOURLY_SPIKE]
    partition.add_event(event(25, "ann", 1, NOW + 24 * HOUR), 25, NOW + 24 * HOUR)
    (alert,) = [alert for alert in partition.flush().alerts if alert.kind is AlertKind.HOURLY_SPIKE]
    assert (alert.threshold_percent, alert.limit) == (500, 5 * USD // 2)


def test_a_changed_budget_is_evaluated_at_once_and_repeats_nothing() -> None:
    """Raised: told again at the higher amounts. Lowered: only thresholds never told at as much are told."""
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", 9 * USD, NOW), 0, NOW)
    assert [alert.threshold_percent for alert in partition.flush().alerts] == [75, 90]

    partition.apply_budget("ann", Budget(user_id="ann", version=1, monthly_budget=11 * USD), 0, NOW)
    (raised,) = partition.flush().alerts
    assert (raised.threshold_percent, raised.limit, raised.budget_version) == (75, 8_250_000_000_000, 1)

    partition.apply_budget("ann", Budget(user_id="ann", version=2, monthly_budget=5 * USD), 1, NOW)
    (lowered,) = partition.flush().alerts
    assert (lowered.threshold_percent, lowered.limit, lowered.budget_version) == (100, 5 * USD, 2)

    partition.apply_budget("ann", Budget(user_id="ann", version=2, monthly_budget=USD), 2, NOW)
    partition.apply_budget("ann", None, 3, NOW)
    assert partition.flush().alerts == []


def test_an_old_budget_is_ignored() -> None:
    """A budget read again, or one with a lower version, changes nothing."""
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=5, monthly_budget=USD), 7, NOW)
    partition.apply_budget("ann", Budget(user_id="ann", version=6, monthly_budget=9 * USD), 7, NOW)
    partition.apply_budget("ann", Budget(user_id="ann", version=4, monthly_budget=9 * USD), 8, NOW)
    assert partition.users["ann"].budget.monthly_budget == USD


def test_late_events_count_in_their_own_month_against_its_own_budget() -> None:
    """An event of last month raises a late alert against the budget that was in force in that month."""
    last_month = NOW - 20 * DAY_MICROSECONDS
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, monthly_budget=100 * USD), 0, last_month)
    partition.add_event(event(0, "ann", 80 * USD, last_month), 0, last_month)
    partition.apply_budget("ann", Budget(user_id="ann", version=2, monthly_budget=500 * USD), 1, NOW)
    partition.flush()
    partition.add_event(event(1, "ann", 10 * USD, last_month), 1, NOW)
    (alert,) = [alert for alert in partition.flush().alerts if alert.kind is AlertKind.BUDGET_THRESHOLD]
    assert (alert.threshold_percent, alert.late, alert.budget_version) == (90, True, 1)


def test_history_counts_nowhere_and_unpriced_is_told_once_a_day() -> None:
    """An event older than the horizon is history; two unpriced events of a day give one alert and no total."""
    partition = PartitionTotals(RULES)
    assert partition.add_event(event(0, "ann", USD, NOW - 41 * DAY_MICROSECONDS), 0, NOW) is Outcome.HISTORY
    assert partition.add_event(event(1, "ann", None, NOW), 1, NOW) is Outcome.UNPRICED
    assert partition.add_event(event(2, "ann", None, NOW + 1), 2, NOW) is Outcome.UNPRICED
    alerts = partition.flush().alerts
    assert [(alert.kind, alert.scope) for alert in alerts] == [(AlertKind.UNPRICED_USAGE, "operation:openai/o")]
    assert set(totals_of(partition).values()) == {0}


def test_a_reversing_entry_raises_no_alert_of_unpriced_usage() -> None:
    """An unpriced event that is taken back is told no second time, and alone not at all; priced ones come to zero."""
    partition = PartitionTotals(RULES)
    taking_back = {"reverses_event_id": "0191e3c0-0000-7000-8000-000000000000"}
    assert partition.add_event({**event(1, "ann", None, NOW), **taking_back}, 1, NOW) is Outcome.APPLIED
    assert partition.flush().alerts == []
    assert partition.add_event(event(2, "ann", None, NOW), 2, NOW) is Outcome.UNPRICED
    assert len(partition.flush().alerts) == 1
    partition.add_event(event(3, "ann", 3 * USD, NOW), 3, NOW)
    partition.add_event({**event(4, "ann", -3 * USD, NOW), **taking_back}, 4, NOW)
    partition.add_event(event(5, "ann", USD, NOW), 5, NOW)
    assert partition.flush().alerts == []
    assert set(totals_of(partition).values()) == {USD}


def test_a_change_of_time_zone_moves_the_totals() -> None:
    """After the change, days and months are those of the new zone, and what left a label is gone from it."""
    partition = PartitionTotals(RULES)
    start = period_at(PeriodKind.MONTH, NOW, "UTC").start_us
    partition.add_event(event(0, "ann", USD, start + 2 * HOUR), 0, NOW)
    partition.add_event(event(1, "ann", 2 * USD, start + 12 * HOUR), 1, NOW)
    partition.flush()
    zone = "America/Los_Angeles"
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone=zone), 0, NOW)
    flush = partition.flush()
    expected: dict[tuple[str, str, str], int] = defaultdict(int)
    for at, amount in ((start + 2 * HOUR, USD), (start + 12 * HOUR, 2 * USD)):
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            expected["ann", kind, period_at(kind, at, zone).label] += amount
    assert {key: value for key, value in totals_of(partition).items() if value} == expected
    assert {(view.kind, view.label) for view in flush.views if view.amounts is None} == {
        (PeriodKind.HOUR, period_at(PeriodKind.HOUR, start + 2 * HOUR).label),
        (PeriodKind.HOUR, period_at(PeriodKind.HOUR, start + 12 * HOUR).label),
    }


def test_old_periods_are_dropped_from_the_state() -> None:
    """Days and months that ended before the horizon are deleted, also for users who have gone quiet."""
    broker = Broker()
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", USD, NOW), 0, NOW)
    broker.write(partition)
    later = NOW + 80 * DAY_MICROSECONDS
    partition.add_event(event(1, "bob", USD, later), 1, later)
    broker.write(partition)
    broker.write(partition)
    assert "ann" not in partition.users
    assert not [key for key, (_, value) in broker.state.items() if b"ann" in key and value is not None]


def test_totals_beyond_64_bits_survive_a_restart() -> None:
    """A month of 18 million USD does not fit in 64 bits of 1e-12 USD, and is exact all the same."""
    broker = Broker()
    partition = PartitionTotals(RULES)
    for offset in range(2):
        partition.add_event(event(offset, "ann", 9_000_000 * USD + 1, NOW), offset, NOW)
    broker.write(partition)
    assert set(totals_of(broker.recovered()).values()) == {18_000_000 * USD + 2}

"""The stream's domain at its edges: zones half an hour apart, repeated hours, rings after crashes, bounded state."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD, Broker, event, totals_of

from costledger.schemas import encode_alert
from costledger.schemas.alerts import AlertKind, AlertState
from costledger.schemas.budgets import THRESHOLDS_MAX, Budget
from costledger.schemas.ids import derived_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.times import parse_time, to_microseconds
from costledger.streams.domain.partition import Outcome, PartitionTotals
from costledger.streams.domain.recent import CHUNK_EVENTS, RecentEvents
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules


def at(text: str) -> int:
    """A time in Unix microseconds."""
    return to_microseconds(parse_time(text))


def spikes(partition: PartitionTotals) -> list[tuple[AlertState, int]]:
    """(state, whole USD) of the spike alerts of a flush."""
    alerts = partition.flush().alerts
    return [(alert.state, alert.actual // USD) for alert in alerts if alert.kind is AlertKind.HOURLY_SPIKE]


def test_an_hour_before_and_after_a_change_of_zone_is_one_hour() -> None:
    """Between zones half an hour apart, what was spent before and after the change is one total, and one spike."""
    hour = period_at(PeriodKind.HOUR, NOW)
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone="Asia/Kolkata"), 0, NOW)
    partition.add_event(event(0, "ann", 15 * USD, hour.start_us + HOUR // 2), 0, NOW)
    partition.flush()
    partition.apply_budget("ann", Budget(user_id="ann", version=2), 1, NOW)
    partition.add_event(event(1, "ann", 6 * USD, hour.start_us + HOUR * 3 // 4), 1, NOW)
    assert spikes(partition) == [(AlertState.ALARM, 21)]
    for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
        assert totals_of(partition)["ann", kind, period_at(kind, hour.start_us).label] == 21 * USD


def test_the_end_of_a_spike_is_told_after_a_change_of_zone() -> None:
    """A spike that began in the old zone ends once in the new one."""
    hour = period_at(PeriodKind.HOUR, NOW)
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone="Asia/Kolkata"), 0, NOW)
    partition.add_event(event(0, "ann", 25 * USD, hour.start_us + HOUR // 2), 0, NOW)
    assert spikes(partition) == [(AlertState.ALARM, 25)]
    partition.apply_budget("ann", Budget(user_id="ann", version=2), 1, NOW)
    partition.add_event(event(1, "ann", 1, hour.start_us + 3 * HOUR), 1, NOW)
    partition.add_event(event(2, "ann", 1, hour.start_us + 5 * HOUR), 2, NOW)
    assert spikes(partition) == [(AlertState.OK, 25)]


def test_what_was_told_as_unpriced_outlasts_a_change_of_zone() -> None:
    """A day without any priced event keeps what was told of it."""
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", None, NOW), 0, NOW)
    assert len(partition.flush().alerts) == 1
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone="Europe/Berlin"), 0, NOW)
    partition.add_event(event(1, "ann", None, NOW), 1, NOW)
    assert partition.flush().alerts == []


@pytest.mark.parametrize("restarted", [False, True])
def test_two_hours_of_one_label_are_shown_as_one(restarted: bool) -> None:
    """Where clocks go back, both hours called 02 are in the total of that label."""
    partition, broker = PartitionTotals(RULES), Broker()
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone="Europe/Berlin"), 0, NOW)
    shown: dict[tuple[PeriodKind, str], int] = defaultdict(int)
    for number, (time, usd) in enumerate({"2026-10-25T00:30:00Z": 1, "2026-10-25T01:30:00Z": 2}.items()):
        partition.add_event(event(number, "ann", usd * USD, at(time)), number, at(time))
        flush = partition.flush()
        shown |= {(view.kind, view.label): sum((view.amounts or {}).values()) for view in flush.views}
        for key, value in (change for group in flush.groups for change in group):
            broker.state[key] = (number, value)
    assert shown[PeriodKind.HOUR, "2026-10-25T02"] == 3 * USD
    if restarted:
        partition = broker.recovered()
    assert totals_of(partition)["ann", PeriodKind.HOUR, "2026-10-25T02"] == 3 * USD


def test_a_spike_goes_on_through_an_hour_of_thirty_minutes() -> None:
    """Lord Howe's clocks go back by half an hour: the hours on both sides are still one spike."""
    partition = PartitionTotals(RULES)
    zone = "Australia/Lord_Howe"
    change = at("2026-04-04T15:00:00Z")
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone=zone), 0, change)
    hour = period_at(PeriodKind.HOUR, change - HOUR, zone)
    for number in range(4):
        partition.add_event(event(number, "ann", 25 * USD, hour.start_us), number, change + 4 * HOUR)
        hour = hour.next()
    assert spikes(partition) == [(AlertState.ALARM, 25)]


def test_told_thresholds_are_bounded() -> None:
    """A user who sets ever new thresholds has a month of bounded size, and those in force are told once."""
    partition = PartitionTotals(RULES)
    partition.add_event(event(0, "ann", 5000 * USD, NOW), 0, NOW)
    partition.flush()
    told = 0
    for version in range(1, 200):
        thresholds = tuple(Decimal(version * 16 + step) / 100 for step in range(16))
        budget = Budget(user_id="ann", version=version, monthly_budget=100 * USD, alert_thresholds=thresholds)
        partition.apply_budget("ann", budget, version, NOW)
        told += len(partition.flush().alerts)
    (month,) = partition.users["ann"].calendar.months.values()
    assert told == 199 * 16
    assert len(month.told) == 16 * THRESHOLDS_MAX
    partition.add_event(event(1, "ann", USD, NOW), 1, NOW)
    assert partition.flush().alerts == []


def test_the_profile_of_a_deleted_budget_goes_with_the_last_period() -> None:
    """A user whose budget was deleted and who spent nothing leaves nothing behind, but not in the same flush."""
    partition, broker = PartitionTotals(RULES), Broker()
    partition.apply_budget("ann", Budget(user_id="ann", version=1), 0, NOW)
    partition.apply_budget("ann", None, 1, NOW)
    broker.write(partition)
    assert broker.state[b"u\x00ann"][1] is not None
    partition.apply_budget("ann", Budget(user_id="ann", version=1), 0, NOW)
    assert partition.users["ann"].budget.version == 0, "a budget read again after the crash is older than the deletion"
    broker.write(partition)
    broker.write(partition)
    assert partition.users == {}
    assert broker.state[b"u\x00ann"][1] is None


def test_a_clock_set_back_by_a_day_finds_its_periods() -> None:
    """An event at the edge of the horizon, received by a clock a day behind, adds to the day that is still there."""
    partition = PartitionTotals(RULES)
    early = NOW - 40 * DAY_MICROSECONDS
    partition.add_event(event(0, "ann", 9 * USD, early), 0, early)
    first = partition.flush().alerts
    partition.add_event(event(1, "bob", USD, NOW + DAY_MICROSECONDS), 1, NOW + DAY_MICROSECONDS)
    partition.flush()
    partition.flush()
    assert partition.add_event(event(2, "ann", 1, early), 2, NOW) is Outcome.APPLIED
    assert partition.flush().alerts == []
    assert len(first) == 2
    label = period_at(PeriodKind.DAY, early).label
    assert totals_of(partition)["ann", PeriodKind.DAY, label] == 9 * USD + 1


def test_the_largest_factor_makes_an_alert_that_can_be_written() -> None:
    """A relative rule of 1000 times is within what the published schema holds."""
    rules = Rules(usual_factor=1000, usual_hours_min=1, usual_least=0)
    partition = PartitionTotals(rules)
    partition.add_event(event(0, "ann", 10**9, NOW - HOUR), 0, NOW)
    partition.add_event(event(1, "ann", 10**12, NOW), 1, NOW)
    (alert,) = partition.flush().alerts
    assert alert.kind is AlertKind.HOURLY_SPIKE
    assert encode_alert(alert)


def ids(first: int, count: int) -> list[str]:
    """Event ids."""
    return [str(derived_event_id(NOW, str(number))) for number in range(first, first + count)]


def test_an_id_in_two_chunks_is_remembered_until_the_later_one_goes() -> None:
    """After a crash between two chunks an id may stand in both: the ring knows it by its later offset."""
    twice = ids(0, 1)[0]
    older, newer, ring = (RecentEvents(CHUNK_EVENTS) for _ in range(3))
    for offset, name in enumerate([twice, *ids(100, CHUNK_EVENTS - 1)]):
        older.is_repeat(name, offset)
    for offset, name in enumerate([twice, *ids(1000, 299)], CHUNK_EVENTS):
        newer.is_repeat(name, offset)
    ring.restore(1, newer.changed_chunks()[0][1])
    ring.restore(0, older.changed_chunks()[0][1])
    assert not ring.is_repeat(twice, CHUNK_EVENTS), "read again from its later offset"
    for offset, name in enumerate(ids(2000, 201), 2 * CHUNK_EVENTS):
        assert not ring.is_repeat(name, offset)
    assert [slot for slot, _ in ring.changed_chunks()] == [0]
    assert ring.is_repeat(twice, 3000), "the earlier chunk is gone, the later one is not"
    assert len(ring) == 300 + 201


@pytest.mark.parametrize("missing", range(4))
def test_a_chunk_that_did_not_land_costs_no_other_its_place(missing: int) -> None:
    """Whichever chunk a crash has lost: with the events of it read again, the ring knows as many as it says."""
    events = 3 * CHUNK_EVENTS
    whole, ring, names = RecentEvents(events), RecentEvents(events), ids(0, 4 * CHUNK_EVENTS)
    for offset, name in enumerate(names):
        whole.is_repeat(name, offset)
    for slot, stored in whole.changed_chunks():
        if slot != missing:
            ring.restore(slot, stored)
    for offset in range(missing * CHUNK_EVENTS, len(names)):
        assert not ring.is_repeat(names[offset], offset)
    assert all(ring.is_repeat(name, len(names)) for name in names[-events:])


def test_a_ring_of_another_size_is_taken_over() -> None:
    """Chunks that were stored in other slots: the latest ids are known, and stored where they belong now."""
    small, large, names = RecentEvents(CHUNK_EVENTS), RecentEvents(4 * CHUNK_EVENTS), ids(0, 7 * CHUNK_EVENTS)
    for offset, name in enumerate(names):
        small.is_repeat(name, offset)
    for slot, stored in small.changed_chunks():
        large.restore(slot, stored)
    assert all(large.is_repeat(name, len(names)) for name in names[-CHUNK_EVENTS:])
    again = RecentEvents(4 * CHUNK_EVENTS)
    for slot, stored in large.changed_chunks():
        again.restore(slot, stored)
    assert all(again.is_repeat(name, len(names)) for name in names[-CHUNK_EVENTS:])


def test_the_ring_knows_as_many_events_as_it_says() -> None:
    """Also right after it has begun a new chunk, in the place of its oldest."""
    ring, names = RecentEvents(2 * CHUNK_EVENTS), ids(0, 3 * CHUNK_EVENTS + 1)
    for offset, name in enumerate(names):
        assert not ring.is_repeat(name, offset)
    assert all(ring.is_repeat(name, len(names)) for name in names[-2 * CHUNK_EVENTS :])


def test_a_label_that_has_totals_again_is_shown() -> None:
    """A change of zone leaves an hour's label without totals; an event gives it some before that is written."""
    hour = period_at(PeriodKind.HOUR, NOW)
    partition = PartitionTotals(RULES)
    partition.apply_budget("ann", Budget(user_id="ann", version=1, time_zone="Europe/Berlin"), 0, NOW)
    partition.add_event(event(0, "ann", USD, hour.start_us), 0, NOW)
    partition.flush()
    partition.apply_budget("ann", Budget(user_id="ann", version=2), 1, NOW)
    partition.add_event(event(1, "ann", 2 * USD, hour.end_us), 1, hour.end_us)
    shown = {view.label: view.amounts for view in partition.flush().views if view.kind is PeriodKind.HOUR}
    assert shown == {
        hour.label: {("openai", "o"): USD},
        hour.next().label: {("openai", "o"): 2 * USD},
    }


@pytest.mark.parametrize("is_flushed", [False, True])
@pytest.mark.parametrize(
    ("days", "told"), [(39, [(AlertState.OK, 25)]), (40, [(AlertState.OK, 25)]), (41, []), (43, [])]
)
def test_whether_an_end_is_told_does_not_depend_on_when_old_hours_are_dropped(
    days: int, told: list[tuple[AlertState, int]], is_flushed: bool
) -> None:
    """The end of a spike that is older than the horizon is not told, whether its hour is still in the state or not."""
    partition = PartitionTotals(RULES)
    later = NOW + days * DAY_MICROSECONDS
    partition.add_event(event(0, "ann", 25 * USD, NOW), 0, NOW)
    assert spikes(partition) == [(AlertState.ALARM, 25)]
    if is_flushed:
        # Another user's event brings the clock on: what is old is dropped with the flush after it.
        partition.add_event(event(1, "bob", USD, later), 1, later)
        partition.flush()
    partition.add_event(event(2, "ann", USD, later), 2, later)
    assert spikes(partition) == told


def test_a_late_event_looks_no_further_back_though_it_begins_no_hour() -> None:
    """The hour before, in which a spike began, is on a day beyond the horizon: the spike does not go on from it."""
    partition = PartitionTotals(RULES)
    midnight = NOW // DAY_MICROSECONDS * DAY_MICROSECONDS
    for offset, (amount, at) in enumerate([(25, midnight - HOUR // 2), (15, midnight + HOUR // 2)]):
        partition.add_event(event(offset, "ann", amount * USD, at), offset, NOW)
    assert spikes(partition) == [(AlertState.ALARM, 25)]
    partition.add_event(event(2, "ann", 10 * USD, midnight + HOUR // 2), 2, midnight + HOUR // 4 + RULES.horizon_us)
    assert spikes(partition) == [(AlertState.ALARM, 25)]


@pytest.mark.parametrize(("beyond_us", "told"), [(0, []), (-HOUR, [(AlertState.ALARM, 10)])])
def test_what_is_usual_is_found_within_the_horizon(beyond_us: int, told: list[tuple[AlertState, int]]) -> None:
    """In a late hour: the hours of the days that may be gone from the state make nothing usual, though they are still there."""
    partition = PartitionTotals(Rules(usual_hours_min=3))
    midnight = NOW // DAY_MICROSECONDS * DAY_MICROSECONDS
    for offset in range(4):
        partition.add_event(event(offset, "ann", USD, midnight - offset * HOUR - HOUR // 2), offset, NOW)
    partition.flush()
    received = midnight + HOUR // 4 + RULES.horizon_us + beyond_us
    partition.add_event(event(4, "ann", 10 * USD, midnight + HOUR // 2), 4, received)
    assert spikes(partition) == told

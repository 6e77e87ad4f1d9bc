"""What the read models say is what the events add up to, in every zone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from tests.sinks.analytics.filling import write_events
from tests.sinks.analytics.modelling import amount_of, events_around, reversal_of, sums_of, within
from tests.sinks.conftest import Ledger, make_event

from costledger.schemas.budgets import Budget, BudgetDefaults
from costledger.schemas.events import CostEvent
from costledger.schemas.periods import MICROSECONDS_PER_HOUR, Period, PeriodKind, period_at
from costledger.schemas.times import to_microseconds
from costledger.sinks.analytics import (
    HISTORY_PERIODS,
    Sums,
    amounts_of_days,
    average,
    by_tier,
    days_until,
    history_periods,
    read_costs,
    read_subject,
    sums_of_intervals,
    users_overview,
)
from costledger.sinks.analytics.costs import change_percent
from costledger.sinks.analytics.periods import Interval, same_point_before
from costledger.sinks.budgets import delete_budget, save_budget
from costledger.sinks.database import Connection, connect
from costledger.sinks.spend import month_to_date

USERS = ["ann", "bob"]
ZONES = ["UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu", "America/St_Johns", "Pacific/Auckland"]
#: An ordinary evening, and mornings after a change of clocks (New York, Vienna), a new year and a leap day.
NOWS = [
    datetime(2026, 11, 24, 18, 20, 7, 123_456, tzinfo=UTC),
    datetime(2026, 11, 2, 6, 30, tzinfo=UTC),
    datetime(2026, 3, 30, 3, 5, tzinfo=UTC),
    datetime(2027, 1, 1, 4, 59, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 30, tzinfo=UTC),
]


@pytest.fixture
def connection(ledger: Ledger) -> Iterator[Connection]:
    """A connection as the API has it."""
    with connect(ledger.url, "test", 20) as connection:
        yield connection


def as_model(sums: list[Sums], *, with_maximum: bool) -> dict[tuple[str, str], tuple[int, int, int, int, int | None]]:
    """Sums in the form of `sums_of`."""
    assert [(one.service, one.operation) for one in sums] == sorted((one.service, one.operation) for one in sums)
    if not with_maximum:
        assert all(one.maximum is None for one in sums)
    return {
        (one.service, one.operation): (one.events, one.unpriced, one.quantity, one.amount, one.maximum) for one in sums
    }


def without_maximum(
    model: dict[tuple[str, str], tuple[int, int, int, int, int | None]],
) -> dict[tuple[str, str], tuple[int, int, int, int, int | None]]:
    """The model's sums where maxima are not asked for: of an event and its reversal nothing is left."""
    return {key: (*sums[:4], None) for key, sums in model.items() if any(sums[:4])}


@pytest.mark.parametrize("now", NOWS, ids=lambda now: f"{now:%Y-%m-%d}")
def test_history_and_running_period_are_the_sums_of_the_events(
    ledger: Ledger, connection: Connection, seed: int, now: datetime
) -> None:
    """By day, week and month, in zones of full, half and quarter hours; exact in every column; month as the guard's."""
    events = events_around(random.Random(seed), now, USERS, ZONES, 1500)
    write_events(ledger.connection, events)
    ledger.assert_consistent()
    now_us = to_microseconds(now)
    for zone in ZONES:
        for kind in HISTORY_PERIODS:
            periods = history_periods(kind, now_us, zone)
            costs = read_costs(connection, "ann", kind, zone, now_us)
            assert [one.period for one in costs.history] == periods
            for one in costs.history[:-1]:
                model = without_maximum(sums_of(within(events, "ann", one.period)))
                assert as_model(one.sums, with_maximum=False) == model
            model = sums_of(within(events, "ann", periods[-1]))
            assert as_model(costs.current.sums, with_maximum=True) == model
            assert costs.current.total == amount_of(within(events, "ann", periods[-1]))
            assert costs.current.unpriced == sum(sums[1] for sums in model.values())
            assert sum(costs.current.by_service.values()) == sum(costs.current.by_operation.values())
            assert sum(costs.current.by_service.values()) == costs.current.total
            assert costs.previous_to_date == to_date_model(events, periods[-1], now_us)
            previous = amount_of(within(events, "ann", periods[-2]))
            assert costs.trend_percent == change_percent(Fraction(costs.current.total), Fraction(previous))
            if kind is PeriodKind.MONTH:
                assert costs.current.total == month_to_date(connection, "ann", periods[-1])


def to_date_model(events: list[CostEvent], running: Period, now_us: int) -> Fraction:
    """The previous period up to the same point; of the UTC hour with that point, its share of the time."""
    point = same_point_before(running, now_us)
    hour = max(point.start_us, point.end_us - point.end_us % MICROSECONDS_PER_HOUR)
    end = min(point.end_us - point.end_us % MICROSECONDS_PER_HOUR + MICROSECONDS_PER_HOUR, running.start_us)
    whole = amount_of(within(events, "ann", Interval(point.start_us, hour)))
    if hour >= end:
        return Fraction(whole)
    return whole + amount_of(within(events, "ann", Interval(hour, end))) * Fraction(point.end_us - hour, end - hour)


def test_any_interval_is_summed(ledger: Ledger, connection: Connection, seed: int) -> None:
    """To the microsecond, also within one hour; and nobody else's events."""
    rng = random.Random(seed)
    now = NOWS[0]
    events = events_around(rng, now, USERS, ZONES, 600)
    write_events(ledger.connection, events)
    intervals = []
    for _ in range(40):
        start = to_microseconds(rng.choice(events).occurred_at) + rng.choice([0, 1, -1])
        intervals.append(Interval(start, start + rng.choice([0, 1, 10**6, 10**9, 10**11, 10**13])))
    for with_maximum in (range(0), range(len(intervals))):
        found = sums_of_intervals(connection, "ann", intervals, with_maximum)
        for interval, sums in zip(intervals, found, strict=True):
            model = sums_of(within(events, "ann", interval))
            wanted = model if with_maximum else without_maximum(model)
            assert as_model(sums, with_maximum=bool(with_maximum)) == wanted
    assert sums_of_intervals(connection, "nobody", intervals) == [[] for _ in intervals]


def test_days_for_statistics(ledger: Ledger, connection: Connection, seed: int) -> None:
    """Exact where days begin on the hour; elsewhere each hour counts where it begins. Days without cost are 0."""
    now = NOWS[1]
    events = events_around(random.Random(seed), now, USERS, ZONES, 800)
    write_events(ledger.connection, events)
    for zone in ZONES:
        days = days_until(period_at(PeriodKind.DAY, to_microseconds(now), zone), 120)
        found = amounts_of_days(connection, "bob", days)
        floors = [Interval(*(end - end % MICROSECONDS_PER_HOUR for end in (day.start_us, day.end_us))) for day in days]
        assert found == [amount_of(within(events, "bob", day)) for day in floors]
    assert amounts_of_days(connection, "nobody", days) == [0] * 120


def test_a_largest_amount_stays_known(ledger: Ledger, connection: Connection) -> None:
    """Of an event that was taken back; the average is of what is left, and there is none without priced events."""
    now = NOWS[0]
    large, small = (make_event("ann", amount=amount, occurred_at=now - timedelta(hours=1)) for amount in (900, 5))
    unpriced = make_event("ann", amount=None, occurred_at=now - timedelta(hours=2), operation="detectFaces")
    write_events(ledger.connection, [large, small, unpriced])
    write_events(ledger.connection, [reversal_of(large)])
    ledger.assert_consistent()
    costs = read_costs(connection, "ann", PeriodKind.DAY, "UTC", to_microseconds(now))
    faces, labels = costs.current.sums
    assert (labels.events, labels.amount, labels.maximum, average(labels)) == (1, 5, 900, 5)
    assert (faces.events, faces.unpriced, faces.maximum, average(faces)) == (1, 1, None, None)


@pytest.mark.parametrize(
    ("now", "before", "percent"), [(15, 10, 50), (5, 10, -50), (7, 0, 0), (0, 10, -100), (5, -10, 150), (-5, -10, 50)]
)
def test_a_change_in_percent(now: int, before: int, percent: int) -> None:
    """0 where there was nothing before; a rise is positive, also from below zero."""
    assert change_percent(Fraction(now), Fraction(before)) == percent


def test_who_is_known(ledger: Ledger, connection: Connection) -> None:
    """Whoever has an event or a budget, or had one; tier and zone are those of now."""
    write_events(ledger.connection, [make_event("ann", occurred_at=NOWS[0])])
    save_budget(ledger.connection, Budget(user_id="bob", tier="premium", time_zone="Asia/Kathmandu"))
    assert read_subject(connection, "ann").known
    assert not read_subject(connection, "cid").known
    bob = read_subject(connection, "bob")
    assert (bob.tier, bob.time_zone, bob.known) == ("premium", "Asia/Kathmandu", True)
    delete_budget(ledger.connection, "bob")
    bob = read_subject(connection, "bob")
    assert (bob.tier, bob.time_zone, bob.known) == ("default", "UTC", True)


def test_tiers_are_the_sums_of_their_users(ledger: Ledger, connection: Connection, seed: int) -> None:
    """By the tier of now, over UTC days; users without an event there do not count, nor do services left out."""
    rng = random.Random(seed)
    now = NOWS[0]
    users = [f"user-{number}" for number in range(12)]
    tiers = {user: ("free", "premium", "default")[number % 3] for number, user in enumerate(users)}
    events = events_around(rng, now, users, ["UTC"], 900)
    write_events(ledger.connection, events)
    for user, tier in tiers.items():
        if tier != "default":
            save_budget(ledger.connection, Budget(user_id=user, tier=tier))
    save_budget(ledger.connection, Budget(user_id="idle", tier="ultimate"))
    start, end = date(2026, 10, 20), date(2026, 11, 22)
    chosen = [event for event in events if start <= event.occurred_at.date() < end and event.service != "aws-s3"]
    found = by_tier(connection, start, end, without=("aws-s3",))
    assert [one.tier for one in found] == sorted({tiers[event.user_id] for event in chosen})
    for one in found:
        of_tier = [event for event in chosen if tiers[event.user_id] == one.tier]
        assert one.users == len({event.user_id for event in of_tier})
        assert one.total == amount_of(of_tier)
        assert one.unpriced == sum(sums[1] for sums in sums_of(of_tier).values())
        assert one.by_service == {"openai": amount_of(of_tier)}
    assert by_tier(connection, date(2026, 12, 1), date(2026, 12, 2)) == []


def test_the_overview_has_every_user_once(ledger: Ledger, connection: Connection, seed: int) -> None:
    """Page by page in the order of ids: with events, with a budget, or both; the month is the guard's, in each zone."""
    now = NOWS[1]
    users = [f"user-{number:02d}" for number in range(9)]
    events = events_around(random.Random(seed), now, users, ZONES, 900)
    write_events(ledger.connection, events)
    for number, zone in enumerate(ZONES):
        save_budget(
            ledger.connection, Budget(user_id=users[number], tier="premium", time_zone=zone, monthly_budget=10**12)
        )
    save_budget(ledger.connection, Budget(user_id="idle", tier="free"))
    delete_budget(ledger.connection, users[0])
    pages, after = [], ""
    while page := users_overview(connection, after, 4, to_microseconds(now), BudgetDefaults()):
        pages.append(page)
        after = page[-1].user_id
    found = {one.user_id: one for page in pages for one in page}
    assert [len(page) for page in pages] == [4, 4, 2]
    assert list(found) == sorted({*(event.user_id for event in events), "idle"})
    for user, one in found.items():
        assert one.month == period_at(PeriodKind.MONTH, to_microseconds(now), one.time_zone)
        assert one.month_to_date == month_to_date(connection, user, one.month)
        assert one.unpriced == sum(sums[1] for sums in sums_of(within(events, user, one.month)).values())
    assert found["idle"].monthly_budget == 5 * 10**12
    assert found["idle"].budget_version == 1
    assert (found[users[0]].monthly_budget, found[users[0]].budget_version) == (10 * 10**12, 0)
    assert (found[users[3]].monthly_budget, found[users[3]].time_zone) == (10**12, "Asia/Kathmandu")

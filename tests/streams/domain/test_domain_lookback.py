"""What a baseline looks back at: the same by the compiled twin, and what is remembered of past days is never out of date."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgpack
import pytest
from tests.fixtures.twins import WAYS, using
from tests.streams.domain.test_domain_anomalies import Log
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD

from costledger.schemas.budgets import Budget
from costledger.streams.domain import lookback
from costledger.streams.domain.amounts import spent_by_service
from costledger.streams.domain.anomalies import AnomalyWatch
from costledger.streams.domain.baselines import Past
from costledger.streams.domain.buckets import quarter_of
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.lookback import flags_of, hour_in, latest_costs, spent_at, totals_between
from costledger.streams.domain.rules import DAY_MICROSECONDS

SERVICES = ("openai", "aws-s3", "stripe")
OPERATIONS = ("a", "b", "c" * 40, "d" * 300)
DAYS = 20
#: 20 March 2027, in Unix microseconds: a week before clocks go forward in Berlin, two before they go back on Lord Howe.
MARCH_2027 = 1_805_500_800_000_000
#: What reading refuses bytes with, in Python or compiled.
REFUSALS = (ValueError, TypeError, OverflowError, KeyError, AttributeError)


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(lookback, request.param):
        yield


def some_days(chance: random.Random) -> list[DayTotals]:
    """Open days with hours that were met in any order; also credits, amounts of any size, and names of any length."""
    return [some_day(chance, number) for number in range(DAYS)]


def some_day(chance: random.Random, number: int) -> DayTotals:
    """One of them."""
    day = DayTotals()
    services = [*SERVICES, *(f"service-{index}" * index for index in range(chance.choice((1, 1, 30))))]
    for hour in chance.sample(range(24), chance.randrange(25)):
        amounts = {
            (chance.choice(services), chance.choice(OPERATIONS)): chance.choice((0, 1, USD, 10**20))
            * chance.choice((1, -1))
            + chance.randrange(-(2 ** chance.randrange(70)), 2 ** chance.randrange(70))
            for _ in range(chance.choice((0, 1, 1, 3, 40)))
        }
        day.take_over(96 * number + 4 * hour, HourTotals(amounts, flags=chance.choice((0, 0, 1, 18))))
    return day


def some_packed(chance: random.Random, days: list[DayTotals]) -> list[DayTotals]:
    """The same days: packed, or open with a few hours as objects, or with all."""
    others = [DayTotals(day.stored()) for day in days]
    for day in others:
        if chance.random() < 0.3:
            for key in chance.sample(sorted(day.read_hours()), min(3, len(day.read_hours()))):
                day.hour(key)
    return [day if chance.random() < 0.2 else other for day, other in zip(days, others, strict=True)]


def shuffled(chance: random.Random, stored: bytes) -> bytes:
    """A day as an earlier release may have stored it: its hours in the order in which they were met."""
    hours, unpriced = msgpack.unpackb(stored, strict_map_key=False)
    items = list(hours.items())
    chance.shuffle(items)
    return msgpack.packb([dict(items), unpriced])


def test_costs_are_those_of_the_hours_also_of_packed_days(seed: int) -> None:
    """By service, by hour, from the latest back and no more than asked for; totals by span, and flags."""
    chance = random.Random(seed)
    for _ in range(50):
        days = some_days(chance)
        hours = [(key, hour) for day in days for key, hour in sorted(day.read_hours().items())]
        spent = {key: spent_by_service(hour.amounts) for key, hour in hours}
        packed = some_packed(chance, days)
        asked = [(96 * number + 4 * chance.randrange(24)) for number in range(DAYS)]
        stored = [shuffled(chance, day.stored()) for day in packed]
        found = spent_at([None, stored[0], *stored], [1, None, *asked])
        assert set(found) == {service for key in asked for service in spent.get(key, {})}
        for service, costs in found.items():
            assert costs == [0, 0, *(spent.get(key, {}).get(service, 0) for key in asked)]
        for costs_max in (1, 30, 1000):
            latest = latest_costs(stored[::-1], costs_max)
            for service in {name for each in spent.values() for name in each} | {"unknown"}:
                costs = [spent[key].get(service, 0) for key in sorted(spent, reverse=True)]
                assert latest.get(service, []) == [cost for cost in costs if cost > 0][:costs_max]
        start, end = sorted((chance.randrange(96 * DAYS), chance.randrange(96 * DAYS)))
        between = [hour.total for key, hour in hours if start <= key < end]
        assert sorted(totals_between(stored, start, end)) == sorted(between)
        for day, same in zip(days, packed, strict=True):
            assert same.flags() == [(key, hour.flags) for key, hour in sorted(day.read_hours().items()) if hour.flags]
            assert (same.total, same.amounts, same.has_hours) == (day.total, day.amounts, day.has_hours)
            assert same.stored() == day.stored()


def test_a_packed_day_can_be_changed(seed: int) -> None:
    """Opened, it is the day that was packed; packed once more it has what was changed."""
    chance = random.Random(seed)
    day = some_day(chance, 0)
    other = DayTotals(day.stored())
    for one in (day, other):
        one.begin(99_999, HourTotals())
        one.add(99_999, {("openai", "a"): 5})
        one.unpriced.add(("openai", "b"))
    other.pack()
    assert spent_at([other.stored()], [99_999]) == {"openai": [5]}
    assert (other.total, other.stored(), other.unpriced) == (day.total, day.stored(), day.unpriced)
    assert list(other.read_hours()) == sorted(day.read_hours())


def test_an_hour_may_have_any_number_of_operations() -> None:
    """Also so many that its stored form has a length of four bytes."""
    amounts = {("openai", f"{number:0120d}"): number for number in range(1, 1_001)}
    day = DayTotals()
    day.begin(4, HourTotals())
    day.add(4, amounts)
    stored = day.stored()
    assert len(stored) > 2**16
    assert totals_between([stored]) == [500_500]
    assert spent_at([stored], [4]) == {"openai": [500_500]}
    assert latest_costs([stored], 3) == {"openai": [500_500]}
    assert HourTotals.of_stored(hour_in(stored, 4) or b"").amounts == amounts


def test_a_day_is_stored_the_same_whatever_was_packed_or_closed_in_between(seed: int) -> None:
    """Hours that come late, and what is unpriced: a day that is closed and packed at any time is one that never was."""
    chance = random.Random(seed)
    for _ in range(100):
        one, other = DayTotals(), DayTotals()
        spent: dict[int, int] = {}
        for _ in range(chance.randrange(80)):
            key = 4 * chance.randrange(24)
            for day in (one, other):
                if not day.has_hour(key):
                    day.begin(key, HourTotals())
                day.add(key, {("openai", "a"): key + 1})
                if key % 5 == 0:
                    day.unpriced.add(("openai", f"{key}А"))
            spent[key] = spent.get(key, 0) + key + 1
            step = chance.randrange(6)
            if step == 0:
                other.pack()
            elif step == 1:
                other.close_hours()
                assert other.changed_hours() == []
        assert other.stored() == one.stored()
        assert {key: hour.total for key, hour in other.read_hours().items()} == spent
        assert totals_between([other.stored()]) == [spent[key] for key in sorted(spent)]
        assert (other.total, other.amounts) == (sum(spent.values()), one.amounts)
        assert [key for key in range(100) if other.has_hour(key)] == sorted(spent)
        hours = [other.read_hour(key) for key in sorted(spent)]
        assert [hour and hour.total for hour in hours] == [spent[key] for key in sorted(spent)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])
def test_the_week_before_an_hour_has_its_168_hours(zone: str) -> None:
    """Also where clocks go forward or back in it: the hours of 168 times 60 minutes, each once."""
    quarters = range(quarter_of(MARCH_2027), quarter_of(MARCH_2027 + 16 * DAY_MICROSECONDS))
    calendar = Calendar(zone)
    for key in sorted({calendar.buckets(quarter).hour_key for quarter in quarters}):
        label = calendar.buckets(key).day.label
        calendar.day(label).begin(key, HourTotals())
        calendar.day(label).add(key, {("openai", "a"): key})
    keys = [key for day in calendar.days.values() for key in day.read_hours()]
    for key in [one for one in keys if one >= keys[0] + 8 * 96]:
        week = [one for one in keys if key - 7 * 96 <= one < key]
        assert sorted(calendar.week_before(key)) == week


@pytest.mark.parametrize(
    "reading",
    [flags_of, lambda day: totals_between([day]), lambda day: latest_costs([day], 9), lambda day: spent_at([day], [0])],
)
def test_bytes_that_are_no_day_are_refused(seed: int, reading: Callable[[bytes], object]) -> None:
    """Cut off, or with a byte changed, a stored day is refused or read as another one."""
    chance = random.Random(seed)
    data = some_day(chance, 0).stored()
    for end in chance.choices(range(len(data)), k=200):
        with suppress(*REFUSALS):
            reading(data[:end])
    for _ in range(2000):
        place = chance.randrange(len(data))
        with suppress(*REFUSALS):
            reading(data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :])
    for wrong in (b"", b"\x92", b"\x91\x80", b"\x92\x81\x01\xc4\xff\x90", b"\x92\xdf\xff\xff\xff\xff"):
        with pytest.raises(REFUSALS):
            reading(wrong)


def spend_at_random(chance: random.Random) -> tuple[Log, list[tuple[object, ...]]]:
    """Six weeks of a user whose events come late by up to days, who restarts and moves; the alerts, with what was usual."""
    log = Log(RULES)
    alerts: list[tuple[object, ...]] = []
    for hour in range(-42 * 24, 3 * 24, 2):
        for _ in range(chance.randrange(1, 4)):
            # Neither every hour nor every day has each service: what is usual comes from the latest hours with costs.
            late = chance.choice((0, 0, 0, 1, 5, 26, 50)) * HOUR
            service = SERVICES[min(2, chance.randrange(8))]
            amount = chance.randrange(1, 40) * USD // 10 if hour < 0 else chance.randrange(1, 90) * USD // 10
            log.spend(NOW + hour * HOUR - late, amount, service, received=NOW + hour * HOUR)
        if chance.random() < 0.1:
            alerts += [(one.alert_id, one.period_start, one.actual, one.limit, one.message) for one in log.alerts()]
        if chance.random() < 0.01:
            log.restart()
    budget = Budget(user_id="ann", version=2, monthly_budget=10_000 * USD, time_zone="Asia/Kolkata")
    log.partition.apply_budget("ann", budget, 1, NOW + 4 * DAY_MICROSECONDS)
    log.spend(NOW + 4 * DAY_MICROSECONDS, USD)
    alerts += [(one.alert_id, one.period_start, one.actual, one.limit, one.message) for one in log.alerts()]
    return log, alerts


def test_what_is_remembered_of_past_days_is_never_out_of_date(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With late events into days that were looked at, the state and the alerts are those of a watch that remembers nothing."""
    seeds = [seed + number for number in range(6)]
    remembering = [spend_at_random(random.Random(one)) for one in seeds]
    past_before = AnomalyWatch._past_before

    def forgetful(watch: AnomalyWatch, day: str, received_at_us: int) -> Past:
        watch._past = None
        return past_before(watch, day, received_at_us)

    monkeypatch.setattr(AnomalyWatch, "_past_before", forgetful)
    for one, (log, alerts) in zip(seeds, remembering, strict=True):
        other, others = spend_at_random(random.Random(one))
        assert log.broker.state == other.broker.state
        assert alerts == others
    assert any(alerts for _, alerts in remembering)

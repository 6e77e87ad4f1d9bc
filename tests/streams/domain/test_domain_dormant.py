"""Users at rest: small, woken for their events, and nobody can tell from what is decided that they slept."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import msgpack
import pytest
from tests.streams.domain.test_domain_partition import HOUR, NOW, USD, Broker, event, totals_of

from costledger.schemas.alerts import AlertKind, AlertState
from costledger.schemas.budgets import Budget
from costledger.schemas.redis_keys import TOTAL_KINDS
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.partition import PartitionFlush, PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

AWAKE = Rules(recent_events_max=500, active_users_max=10_000)
AT_REST = replace(AWAKE, active_users_max=0)
#: What a user with five services, an hour, a day and a month may take.
USER_BYTES_MAX = 2048
#: Of an active user, with all that is made for each hour of history.
HOUR_BYTES_MAX = 300
SERVICES = ("aws-rekognition", "aws-comprehend", "aws-s3", "openai", "internal")
USERS = 12


def traffic(seed: int) -> Iterator[tuple[dict, int]]:
    """Six weeks of some users: (record, received), with spikes, anomalies, late, repeated and unpriced events."""
    chance = random.Random(seed)
    number, received = 0, NOW - 42 * DAY_MICROSECONDS
    records: list[dict] = []
    while received < NOW:
        received += chance.randrange(1, 2 * HOUR)
        for _ in range(chance.randrange(1, 5)):
            age = chance.choice((0, 0, 0, chance.randrange(HOUR), chance.randrange(39 * DAY_MICROSECONDS)))
            amount = chance.choice((None, USD // 100, USD // 20, USD // 20, USD, -USD, 25 * USD))
            user, service = f"user-{chance.randrange(USERS):02d}", chance.choice(SERVICES)
            record = event(number, user, amount, received - age, service)
            records.append(record)
            number += 1
            yield (record if chance.random() < 0.97 else chance.choice(records[-50:])), received


def decisions(rules: Rules, seed: int, flushes: float) -> list[PartitionFlush]:
    """What a partition writes for the traffic, flushed after some of the events, with budgets of other zones and a change."""
    return [kept(flush) for _, flush in course(rules, seed, flushes)]


def course(rules: Rules, seed: int, flushes: float) -> Iterator[tuple[PartitionTotals, PartitionFlush]]:
    """The partition and what it has just written, flush by flush."""
    chance = random.Random(seed)
    partition = PartitionTotals(rules)
    zones = ("America/New_York", "Asia/Kolkata", "Europe/Vienna")
    for offset, zone in enumerate(zones):
        budget = Budget(user_id=f"user-{offset:02d}", version=1, time_zone=zone, monthly_budget=60 * USD)
        partition.apply_budget(budget.user_id, budget, offset, NOW - 42 * DAY_MICROSECONDS)
    for offset, (record, received) in enumerate(traffic(seed)):
        partition.add_event(record, offset, received)
        if chance.random() < flushes:
            yield partition, partition.flush()
        if offset == 700:
            moved = Budget(user_id="user-00", version=2, time_zone="Australia/Sydney")
            partition.apply_budget("user-00", moved, 10, received)
            partition.apply_budget("user-01", None, 11, received)
    yield partition, partition.flush()
    yield partition, partition.flush()


def kept(flush: PartitionFlush) -> PartitionFlush:
    """The flush with its views as they are now, not as the state goes on, and in one order."""
    views = [replace(view, amounts=None if view.amounts is None else dict(view.amounts)) for view in flush.views]
    return replace(flush, views=sorted(views, key=lambda view: (view.user_id, view.kind, view.label)))


@pytest.mark.parametrize("rules", [AWAKE, AT_REST])
def test_what_others_have_overwritten_is_written_again_as_it_is_here(seed: int, rules: Rules) -> None:
    """Days, months, budgets and chunks of ids, each as last written; a record that nobody knows here is deleted."""
    made = list(course(rules, seed, 0.05))
    partition, _ = made[-1]
    state = {key: value for _, flush in made for group in flush.groups for key, value in group}
    known = [key for number, key in enumerate(sorted(state)) if number % 3 == 0 or key[:1] in b"ui"]
    assert {key[:1] for key in known} == {b"u", b"d", b"m", b"i"}
    nobody = [b"u\x00nobody", b"d\x00nobody\x002026-11-01", b"m\x00user-03\x002001-01"]
    partition.renew([*known, *nobody, b"i\x0000999"])
    flush = partition.flush()
    assert flush.alerts == []
    written = [change for group in flush.groups for change in group]
    assert dict(written) == {key: state[key] for key in known} | dict.fromkeys(nobody)
    assert len(written) == len(known) + len(nobody)
    assert partition.flush().groups == []
    assert "nobody" not in partition.users


@pytest.mark.parametrize("flushes", [0.5, 0.05])
def test_rest_changes_nothing_that_is_written(seed: int, flushes: float) -> None:
    """Alerts, state and views of users put to rest at every flush are, flush by flush, those of users always awake."""
    resting, awake = decisions(AT_REST, seed, flushes), decisions(AWAKE, seed, flushes)
    assert {alert.kind for flush in awake for alert in flush.alerts} == set(AlertKind), "the traffic must lead to each"
    for ours, theirs in zip(resting, awake, strict=True):
        assert ours.alerts == theirs.alerts
        assert ours.groups == theirs.groups
        assert ours.views == theirs.views
        assert ours.source_offset == theirs.source_offset


@pytest.mark.parametrize("rules", [AT_REST, AWAKE])
def test_a_period_asked_for_is_what_the_flush_has_shown(seed: int, rules: Rules) -> None:
    """By its label, at rest or not: the same totals and offset; nothing of what is gone, by a change of zone or by age."""
    kinds, gone = set(), 0
    for partition, flush in course(rules, seed, 0.05):
        for view in flush.views:
            (asked,) = partition.periods(view.user_id, [(view.kind, view.label)])
            assert asked == (view if view.amounts is not None else replace(view, offset=asked.offset))
            kinds.add(view.kind)
            gone += view.amounts is None
    assert kinds == set(TOTAL_KINDS)
    assert gone, "a user must have changed zones"


@pytest.mark.parametrize("hundred", ["100", "1E+2", "100.0"])
def test_state_has_one_text_for_a_threshold(hundred: str) -> None:
    """Equal thresholds are stored alike, whichever way they were written, and whichever was stored before."""
    month = MonthTotals()
    month.thresholds = ((Decimal(hundred), 7),)
    month.tell(Decimal(hundred), 7)
    stored = msgpack.unpackb(month.stored())
    assert (list(stored[1]), stored[3]) == (["100"], [["100", 7]])


def test_few_users_stay_awake() -> None:
    """After a flush at most so many users are decoded, those of the latest events; all of them are still there."""
    partition = PartitionTotals(replace(AWAKE, active_users_max=3))
    for number in range(10):
        partition.add_event(event(number, f"user-{number}", USD, NOW), number, NOW)
    assert partition.users.active == 10
    partition.flush()
    assert (partition.users.active, len(partition.users)) == (3, 10)
    assert {user for user, _, _ in totals_of(partition)} == {f"user-{number}" for number in range(10)}
    awake = [user for user in partition.users if partition.users[user] is partition.users[user]]
    assert awake == ["user-7", "user-8", "user-9"]


def test_users_without_events_go_to_rest() -> None:
    """Flushes without an event of theirs put all users to rest, in small steps."""
    partition = PartitionTotals(AWAKE)
    for number in range(1_200):
        partition.add_event(event(number, f"user-{number}", USD, NOW), number, NOW)
    partition.flush()
    left = []
    for _ in range(30):
        partition.flush()
        left.append(partition.users.active)
    assert left[0] == 1_200, "not at once: the next event is likely to be theirs"
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 500


def test_recovered_users_are_at_rest() -> None:
    """A recovery decodes nobody; what it took over is complete, and the next events add to it."""
    broker = Broker()
    partition = PartitionTotals(AWAKE)
    for number in range(50):
        partition.add_event(event(number, f"user-{number % 10}", USD, NOW), number, NOW)
    broker.write(partition)
    recovered = broker.recovered(AWAKE)
    assert recovered.users.active == 0
    assert totals_of(recovered) == totals_of(partition)
    recovered.add_event(event(50, "user-3", USD, NOW), 50, NOW)
    recovered.flush()
    assert recovered.users.active == 1
    assert {view for view, amount in totals_of(recovered).items() if amount == 6 * USD} == {
        view for view in totals_of(recovered) if view[0] == "user-3"
    }


def test_the_end_of_a_spike_is_told_after_rest() -> None:
    """A spike that was open when its user was put to rest is ended, once, by the user's next quiet hour."""
    partition = PartitionTotals(AT_REST)
    states = []
    for number, (hour, usd) in enumerate([(0, 25), (1, 1), (2, 1), (3, 1)]):
        at = NOW + hour * HOUR
        partition.add_event(event(number, "ann", usd * USD, at), number, at)
        states += [alert.state for alert in partition.flush().alerts if alert.kind is AlertKind.HOURLY_SPIKE]
        assert partition.users.active == 0
    assert states == [AlertState.ALARM, AlertState.OK]


def test_old_periods_of_users_at_rest_are_dropped() -> None:
    """Quiet users at rest lose what is past the horizon, by and by; only then are they forgotten."""
    broker = Broker()
    partition = PartitionTotals(AT_REST)
    for number in range(200):
        partition.add_event(event(number, f"user-{number}", USD, NOW), number, NOW)
    broker.write(partition)

    def later(days: int, number: int) -> None:
        at = NOW + days * DAY_MICROSECONDS
        partition.add_event(event(number, "ann", USD, at), number, at)
        for _ in range(6):
            broker.write(partition)

    later(41, 200)
    assert len(partition.users) == 201, "within the horizon and two days more"
    later(45, 201)
    days = [key for key, (_, value) in broker.state.items() if key.startswith(b"d\x00user-") and value is not None]
    assert days == [], "their day is past, their month (it ends twelve days later) is not"
    assert len(partition.users) == 201
    later(80, 202)
    assert list(partition.users) == ["ann"]
    assert {
        key.split(b"\x00")[1] for key, (_, value) in broker.state.items() if value is not None and key[:1] != b"i"
    } == {b"ann"}


def test_a_user_at_rest_takes_at_most_two_kibibytes() -> None:
    """Five services in an hour, a day and a month: as Python's allocator counts, the mapping's own share included."""
    users = 2_000
    partition = PartitionTotals(AT_REST)
    gc.collect()
    tracemalloc.start()
    try:
        empty = tracemalloc.get_traced_memory()[0]
        for number in range(users * len(SERVICES)):
            user, service = f"user-{number % users:05d}", SERVICES[number // users]
            partition.add_event(event(number, user, USD // 7 + number, NOW, service, "operation"), number, NOW)
            if number % 500 == 0:
                partition.flush()
        partition.flush()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - empty
    finally:
        tracemalloc.stop()
    assert (len(partition.users), partition.users.active) == (users, 0)
    assert taken / users <= USER_BYTES_MAX


def test_an_active_user_with_a_month_of_hours_takes_little() -> None:
    """All days but two are one piece each: an hour with one service comes to some 60 bytes, not to half a dozen objects."""
    users, hours = 20, 36 * 24
    partition = PartitionTotals(AWAKE)
    gc.collect()
    tracemalloc.start()
    try:
        empty = tracemalloc.get_traced_memory()[0]
        for number in range(users * hours):
            at = NOW - (hours - number // users) * HOUR
            user, service = f"user-{number % users:05d}", SERVICES[number % len(SERVICES)]
            partition.add_event(event(number, user, USD // 7 + number, at, service, "operation"), number, at)
            if number % 500 == 0:
                partition.flush()
        partition.flush()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - empty
    finally:
        tracemalloc.stop()
    assert partition.users.active == users
    assert taken / users / hours <= HOUR_BYTES_MAX


def test_a_user_whose_forecast_is_beyond_64_bits_rests() -> None:
    """27 million USD a day, of events that are each within their bound: the worker goes on, and decides the same."""
    told = []
    for rules in (AWAKE, AT_REST):
        partition = PartitionTotals(rules)
        number, alerts = 0, []
        for day in (4, 3, 2, 1, 0):
            for _ in range(3):
                at = NOW - day * DAY_MICROSECONDS + number
                partition.add_event(event(number, "ann", 9_000_000 * USD, at), number, at)
                number += 1
            alerts += partition.flush().alerts
        told.append((alerts, totals_of(partition)))
    assert told[0] == told[1]
    assert told[0][0]

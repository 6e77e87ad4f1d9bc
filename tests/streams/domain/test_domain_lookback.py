"""What a baseline looks back at: the same by the compiled twin, and what is remembered of past days is never out of date."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.fixtures.twins import WAYS, using
from tests.streams.domain.test_domain_anomalies import Log
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD

from costledger.schemas.budgets import Budget
from costledger.streams.domain import lookback
from costledger.streams.domain.anomalies import AnomalyWatch
from costledger.streams.domain.baselines import Past
from costledger.streams.domain.lookback import costs_at, latest_costs, totals_between
from costledger.streams.domain.rules import DAY_MICROSECONDS
from costledger.streams.domain.totals import DayTotals, HourTotals

SERVICES = ("openai", "aws-s3", "stripe")
DAYS = 20


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(lookback, request.param):
        yield


def some_days(chance: random.Random) -> list[DayTotals]:
    """Days with hours that were met in any order, some of them stored and not decoded yet; also credits and huge amounts."""
    days = []
    for number in range(DAYS):
        day = DayTotals()
        for hour in chance.sample(range(24), chance.randrange(25)):
            amounts = {
                (chance.choice(SERVICES), chance.choice("ab")): chance.choice(
                    (0, 1, -USD, 10**20, chance.randrange(USD))
                )
                for _ in range(chance.randrange(4))
            }
            day.take_over(96 * number + 4 * hour, HourTotals(amounts))
        days.append(DayTotals.of_stored(day.stored()) if chance.random() < 0.3 else day)
    return days


def test_costs_are_those_of_the_hours(seed: int) -> None:
    """By service, by hour, from the latest back and no more than asked for; totals by span."""
    chance = random.Random(seed)
    for _ in range(50):
        days, service = some_days(chance), chance.choice((*SERVICES, "unknown"))
        hours = [(key, hour) for day in days for key, hour in day.hours.items()]
        costs = {
            key: sum(amount for (name, _), amount in hour.amounts.items() if name == service) for key, hour in hours
        }
        asked = chance.sample(hours, min(len(hours), 9))
        assert costs_at([None, *(hour for _, hour in asked)], service) == [0, *(costs[key] for key, _ in asked)]
        for costs_max in (1, 30, 1000):
            latest = latest_costs(days[::-1], costs_max)
            wanted = [costs[key] for key in sorted(costs, reverse=True) if costs[key] > 0]
            assert latest.get(service, []) == wanted[:costs_max]
        start, end = sorted((chance.randrange(96 * DAYS), chance.randrange(96 * DAYS)))
        assert totals_between(days, start, end) == [hour.total for key, hour in hours if start <= key < end]


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
        watch._past_of = None
        return past_before(watch, day, received_at_us)

    monkeypatch.setattr(AnomalyWatch, "_past_before", forgetful)
    for one, (log, alerts) in zip(seeds, remembering, strict=True):
        other, others = spend_at_random(random.Random(one))
        assert log.broker.state == other.broker.state
        assert alerts == others
    assert any(alerts for _, alerts in remembering)

"""Anomalies and forecasts against a naive model, wherever batches end, processes die and zones change their clocks."""

from __future__ import annotations

import random
from collections import defaultdict
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.streams.domain.naive_unusual import NaiveUser, Told
from tests.streams.domain.test_domain_partition import HOUR, NOW, RULES, USD, Broker, event

from costledger.schemas.alerts import AlertKind, CostAlert
from costledger.schemas.budgets import Budget
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS

KINDS = {AlertKind.ANOMALY, AlertKind.FORECAST_EXCEEDED}
SERVICES = ("openai", "aws-s3")
#: Their clocks go back within the history: on 25 October and on 1 November 2026.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")

#: (service, amount in 1e-3 USD, hours ago in tenths: most are recent)
one_more = st.tuples(
    st.sampled_from(SERVICES),
    st.one_of(st.integers(-500, 500), st.integers(0, 9000)),
    st.one_of(st.integers(0, 60), st.integers(0, 4000), st.integers(0, 9700)),
)


def row_of(alert: CostAlert) -> Told:
    """An alert in the form that the naive model has it."""
    return (
        alert.kind,
        alert.state,
        alert.scope,
        alert.period_start,
        alert.actual,
        alert.limit,
        alert.occurred_at,
        alert.raised_at,
    )


def history(days: int, chance: random.Random) -> list[tuple[str, int, int]]:
    """(service, amount, occurred at) of so many days before now, a few events a day at hours like now's."""
    rows = []
    for day in range(days, 0, -1):
        for service in SERVICES[: chance.choice((0, 1, 1, 2))]:
            for hour in (0, chance.randrange(24)):
                amount = int(chance.lognormvariate(0, 0.3) * 200) * USD // 1000
                rows.append((service, amount, NOW - day * DAY_MICROSECONDS + hour * HOUR + chance.randrange(HOUR)))
    return sorted(rows, key=lambda row: row[2])


@settings(max_examples=150, deadline=None)
@given(
    days=st.integers(0, 41),
    seed=st.integers(0, 2**32),
    more=st.lists(one_more, max_size=40),
    zone=st.sampled_from(ZONES),
    monthly=st.sampled_from([0, 1, 5, 10, 20, 40]),
    flush_after=st.sets(st.integers(0, 250), max_size=60),
    crashes=st.dictionaries(st.integers(0, 250), st.integers(0, 6), max_size=4),
)
def test_anomalies_and_forecasts_equal_the_naive_model(days, seed, more, zone, monthly, flush_after, crashes) -> None:
    """Each is decided at exactly the event that calls for it, with the same amounts, and told once."""
    rows = [(*row, row[2]) for row in history(days, random.Random(seed))]
    rows += [
        (service, amount * USD // 1000, NOW + number * 60_000_000 - tenths * HOUR // 10, NOW + number * 60_000_000)
        for number, (service, amount, tenths) in enumerate(more)
    ]
    budget = Budget(user_id="ann", version=1, monthly_budget=monthly * USD, time_zone=zone)
    naive = NaiveUser(budget, RULES)
    log = []
    for number, (service, amount, at, received) in enumerate(rows):
        log.append((event(number, "ann", amount, at, service), received))
        if at >= received - RULES.horizon_us:
            naive.add(service, amount, at, received)

    broker, partition = Broker(), PartitionTotals(RULES)
    partition.apply_budget("ann", budget, 0, rows[0][3] if rows else NOW)
    broker.write(partition)
    committed = offset = 0
    while offset < len(log):
        record, received = log[offset]
        partition.add_event(record, offset, received)
        offset += 1
        if offset in crashes:
            broker.write(partition, groups_kept=crashes.pop(offset))
            partition, offset = broker.recovered(), committed
        elif offset in flush_after:
            broker.write(partition)
            committed = offset
    broker.write(partition)

    by_id: dict[UUID, CostAlert] = {}
    for alert in broker.alerts:
        if alert.kind in KINDS:
            # Sent again after a crash: with the same id it says the same.
            assert by_id.setdefault(alert.alert_id, alert) == alert
    found, expected = defaultdict(list), defaultdict(list)
    for row in map(row_of, by_id.values()):
        found[row[-1]].append(row)
    for row in naive.told:
        expected[row[-1]].append(row)
    assert {at: sorted(group, key=repr) for at, group in found.items()} == {
        at: sorted(group, key=repr) for at, group in expected.items()
    }
    assert len(naive.told) == len(by_id)

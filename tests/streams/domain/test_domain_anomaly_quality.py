"""How good the alerts are on labelled usage: precision and recall of anomalies and forecasts, and false alarms.

`pytest -s tests/streams/domain/test_domain_anomaly_quality.py` prints the tables of streams/README.md.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterable

import pytest
from tests.streams.domain.labelled_usage import HISTORY_WEEKS, HOUR, KINDS, START, USD, Usage, records, usage

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import Rules

WEEKS = 7
USERS_OF_A_KIND = 3
SIZES = (3, 5, 10)
SEEDS = (2026, 11)
JUDGED_MONTHS = (WEEKS - HISTORY_WEEKS) * 7 / 30
_FLUSH_EVERY = 20_000


def made(seed: int, sizes: tuple[int, ...]) -> list[Usage]:
    """Users of all kinds."""
    chance = random.Random(seed)
    return [
        usage(f"{seed}-{kind}-{number}", kind, WEEKS, chance, sizes)
        for kind in KINDS
        for number in range(USERS_OF_A_KIND)
    ]


def alarms(users: list[Usage], kind: AlertKind, budgets: Iterable[Budget] = ()) -> list[CostAlert]:
    """Every alarm of a kind that the stream raises for these users."""
    partition = PartitionTotals(Rules())
    for number, budget in enumerate(budgets):
        partition.apply_budget(budget.user_id, budget, number, START)
    alerts = []
    for offset, record in enumerate(records(users)):
        partition.add_event(record, offset, record["occurred_at"])
        if offset % _FLUSH_EVERY == 0:
            alerts += partition.flush().alerts
    alerts += partition.flush().alerts
    return [alert for alert in alerts if alert.kind is kind and alert.state is AlertState.ALARM]


def judged(users: list[Usage], alerts: list[CostAlert]) -> tuple[Counter, Counter, set]:
    """True and false alarms by kind of user, and the (user, injection) that were found; history is not judged."""
    by_name = {one.user: one for one in users}
    true, false, found = Counter(), Counter(), set()
    for alert in alerts:
        hour, user = (alert.period_start - START) // HOUR, by_name[alert.user_id]
        if hour < HISTORY_WEEKS * 168:
            continue
        hits = [one for one in user.injected if alert.scope == f"service:{one[0]}" and one[1] <= hour < one[1] + one[2]]
        (true if hits else false)[user.kind] += 1
        found |= {(user.user, one) for one in hits}
    return true, false, found


def show(line: str) -> None:
    """One line of the report."""
    sys.stdout.write(line + "\n")


def share(part: float, whole: float) -> str:
    """A share in percent."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def test_anomalies_are_found_and_little_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Of injections of five times the usual amount or more nine in ten are found, of ten alarms nine are true, and
    a user without anomalies is alarmed less than once in two months."""
    true, false, found, users = Counter(), Counter(), set(), []
    for seed in SEEDS:
        mixed = made(seed, SIZES)
        more = judged(mixed, alarms(mixed, AlertKind.ANOMALY))
        true, false, found, users = true + more[0], false + more[1], found | more[2], users + mixed
    plain = made(SEEDS[0], ())
    clean = judged(plain, alarms(plain, AlertKind.ANOMALY))[1]
    injected = {(one.user, each): one.kind for one in users for each in one.injected}

    def recall(kinds: Iterable[str], sizes: Iterable[int]) -> tuple[int, int]:
        these = {key for key, kind in injected.items() if kind in kinds and key[1][3] in sizes}
        return len(these & found), len(these)

    user_months = JUDGED_MONTHS * USERS_OF_A_KIND
    with capsys.disabled():
        show(f"\nseeds {SEEDS}: {len(users)} users, {len(injected)} injections in {WEEKS - HISTORY_WEEKS} weeks each")
        show("| usage | precision | found of 3x | of 5x | of 10x | false alarms per user and month without any |")
        show("|---|---|---|---|---|---|")
        for name, kinds in [*((kind, [kind]) for kind in KINDS), ("all", list(KINDS))]:
            alarmed = sum(true[kind] for kind in kinds), sum(true[kind] + false[kind] for kind in kinds)
            cells = [share(*alarmed), *(share(*recall(kinds, [size])) for size in SIZES)]
            rate = sum(clean[kind] for kind in kinds) / user_months / len(kinds)
            show(f"| {name} | {' | '.join(cells)} | {rate:.2f} |")
    hits, all_clear = recall(KINDS, (5, 10))
    assert hits >= 0.9 * all_clear > 0
    assert true.total() >= 0.9 * (true.total() + false.total())
    assert clean.total() <= 0.5 * user_months * len(KINDS)


def test_forecasts_come_before_the_budget_is_reached_and_seldom_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Months that come to between 0.6 and 1.6 times their budget: nine in ten of those that exceed it are told before,
    and nine in ten alarms are of months that exceed it, or come within a tenth of it."""
    seed = SEEDS[0]
    chance = random.Random(seed)
    users = [usage(f"{kind}-{number}", kind, 9, chance) for kind in KINDS for number in range(USERS_OF_A_KIND)]
    october = period_at(PeriodKind.MONTH, START + 40 * 24 * HOUR)
    spent = {
        one.user: sum(amount for (hour, _), amount in one.amounts.items() if START + hour * HOUR in october)
        for one in users
    }
    limit = {user: min(10_000 * USD, int(total / chance.uniform(0.6, 1.6))) for user, total in spent.items()}
    budgets = [
        Budget(user_id=user, version=1, monthly_budget=amount, hourly_spike_limit=10_000 * USD)
        for user, amount in limit.items()
    ]
    raised = alarms(users, AlertKind.FORECAST_EXCEEDED, budgets)
    alerts = [alert for alert in raised if alert.period_start == october.start_us]
    warned = {alert.user_id for alert in alerts}
    over = {user for user, total in spent.items() if total > limit[user]}
    right = sum(10 * spent[user] > 9 * limit[user] for user in warned)
    days = sorted((alert.occurred_at - october.start_us) // (24 * HOUR) + 1 for alert in alerts)
    with capsys.disabled():
        show(
            f"\nseed {seed}: {len(users)} months, {len(over)} exceed their budget, {len(over & warned)} of them were told"
        )
        show(f"before; {len(warned)} alarms, {right} right; on days {days}")
    assert len(warned) == len(alerts)
    assert len(over & warned) >= 0.9 * len(over) > 0
    assert right >= 0.9 * len(warned) > 0

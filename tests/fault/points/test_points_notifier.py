"""The notifier dies at each of its fail points, one life after the other: alerts are stored once, budgets arrive."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from tests.e2e.conftest import System
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fault.points.expelling import expel
from tests.fixtures.wait import wait_until
from tests.producers.reading import read_topic
from tests.sinks.conftest import Ledger, Topic
from tests.sinks.notifications.conftest import ALERT

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_budget, encode_alert
from costledger.schemas.settings import Settings
from costledger.sinks.budgets import save_budget
from costledger.sinks.notifications.routes import add_route, wanted_route

PLACES = places_of("notifier", "budgets")
ALERTS_OF_A_LIFE = 8
BUDGETS_OF_A_LIFE = 4
USERS = 3


@pytest.fixture
def system_ledger(system: System) -> Iterator[Ledger]:
    """The ledger of the system."""
    ledger = Ledger(system.database_url)
    yield ledger
    ledger.connection.close()


def alerts_of(life: int) -> list[CostAlert]:
    """Alerts that no other life has, half of them of the user who is told of them."""
    return [
        replace(ALERT, user_id=("alice", "bob")[number % 2], threshold_percent=Decimal(1 + number), budget_version=life)
        for number in range(ALERTS_OF_A_LIFE)
    ]


@pytest.mark.long
@pytest.mark.fault
@visits(*PLACES)
def test_a_notifier_that_dies_at_every_place_stores_every_alert_once(
    system: System, system_ledger: Ledger, deaths: Deaths
) -> None:
    """With each alert its delivery, once; no budget is missing on its topic, and the newest of each user is the last."""
    ledger = system_ledger
    servers = system.environment["COSTLEDGER_BOOTSTRAP_SERVERS"]
    group = system.environment["COSTLEDGER_NOTIFIER_GROUP"]
    topic = Topic(f"{system.topic_prefix}cost.alerts", servers)
    settings = Settings(delivery_allow_private_targets=True)
    add_route(
        ledger.connection, wanted_route(settings, user_id="alice", channel="webhook", target="http://127.0.0.1:9")
    )
    alerts: list[CostAlert] = []
    budgets: dict[str, list[Budget]] = defaultdict(list)

    def send(life: int) -> None:
        alerts.extend(alerts_of(life))
        topic.send_raw((one.user_id.encode(), encode_alert(one)) for one in alerts[-ALERTS_OF_A_LIFE:])
        # In one transaction, so that one batch of the relay has them all.
        with ledger.connection.transaction():
            for number in range(BUDGETS_OF_A_LIFE):
                user = f"user-{(life + number) % USERS}"
                budget = Budget(user_id=user, monthly_budget=(1 + life * BUDGETS_OF_A_LIFE + number) * 10**12)
                budgets[user].append(save_budget(ledger.connection, budget))

    for life, place in enumerate(PLACES):
        send(life)
        deaths.at(place, lambda variables: system.start("notifier", variables))
        expel(servers, group)
    # So that the last life is at work before it is asked to stop.
    send(len(PLACES))
    notifier = system.start("notifier")
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.alerts") >= len(alerts), 60, "all alerts are stored")
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.budget_outbox") == 0, 30, "all budgets are relayed")
    system.stop(notifier)
    stored = [alert_id for (alert_id,) in ledger.all("SELECT alert_id FROM ledger.alerts")]
    assert sorted(stored) == sorted(one.alert_id for one in alerts)
    told = [alert_id for (alert_id,) in ledger.all("SELECT alert_id FROM ledger.alert_deliveries")]
    assert sorted(told) == sorted(one.alert_id for one in alerts if one.user_id == "alice")
    assert ledger.one("SELECT count(*) FROM ledger.quarantine") == 0
    check_budgets(budgets, read_topic(servers, f"{system.topic_prefix}cost.budgets"))


def check_budgets(saved: dict[str, list[Budget]], messages: list) -> None:
    """Each version is there, the newest last; a batch whose acknowledged rows were not deleted is there twice."""
    found = defaultdict(list)
    for message in messages:
        found[message.key().decode()].append(decode_budget(message.value()))
    times = Counter(budget for versions in found.values() for budget in versions)
    assert set(times) == {budget for versions in saved.values() for budget in versions}
    assert sum(repeated > 1 for repeated in times.values()) >= BUDGETS_OF_A_LIFE
    assert {user: versions[-1] for user, versions in found.items()} == {
        user: versions[-1] for user, versions in saved.items()
    }

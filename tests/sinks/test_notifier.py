"""The notifier against a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import confluent_kafka
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Running, Topic

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_budget, encode_alert
from costledger.schemas.metrics import NOTIFIER_LAG
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks import notifier
from costledger.sinks.budgets import delete_budget, save_budget
from costledger.sinks.candidates import alone
from costledger.sinks.database import connect
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.notifier import Notifier

ALERT = CostAlert(
    kind=AlertKind.BUDGET_THRESHOLD,
    state=AlertState.ALARM,
    severity=Severity.WARNING,
    user_id="u",
    scope="total",
    period_start=1_793_491_200_000_000,
    period_end=1_796_083_200_000_000,
    actual=7_500_000_000_001,
    limit=7_500_000_000_000,
    threshold_percent=Decimal(75),
    budget_version=3,
    occurred_at=1_795_400_000_000_000,
    raised_at=1_795_400_000_000_001,
    message="75 % of the budget is spent.",
)


@pytest.fixture
def alerts(kafka: KafkaServer, names: TopicNames) -> Topic:
    """The alerts topic."""
    kafka.create_topic(names.budgets, PARTITIONS)
    return Topic(kafka.create_topic(names.alerts, PARTITIONS), kafka.bootstrap_servers)


@pytest.fixture
def start_notifier(settings: Settings) -> Iterator[Callable[..., Running]]:
    """Start notifiers; stopped at the end."""
    started: list[Running] = []

    def start(registry: CollectorRegistry | None = None, **changes: Any) -> Running:
        started.append(Running(Notifier(settings.model_copy(update=changes), registry)))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def test_an_alert_is_stored_once(ledger: Ledger, alerts: Topic, start_notifier: Callable[[], Running]) -> None:
    """Repeats on the topic, and a notifier that reads them again, leave one row with every field of the alert."""
    other = replace(ALERT, threshold_percent=Decimal(90), limit=None, state=AlertState.OK)
    alerts.send_raw([(b"u", encode_alert(one)) for one in (ALERT, ALERT, other)])
    notifier = start_notifier()
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.alerts") == 2, 30, "both alerts are stored")
    assert notifier.worker.health() == (True, f"storing alerts of {alerts.name}, relaying budgets")
    assert notifier.stop() == 0
    last = replace(ALERT, user_id="v")
    alerts.send_raw([(b"u", encode_alert(one)) for one in (ALERT, last)])
    notifier = start_notifier()
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.alerts") == 3, 30, "the new alert is stored")
    assert notifier.stop() == 0
    columns = (
        'kind, state, severity, user_id, scope, threshold_percent, actual, "limit", currency, budget_version, late, '
        "message, (extract(epoch FROM period_start) * 1000000)::bigint, (extract(epoch FROM raised_at) * 1000000)::bigint"
    )
    assert ledger.all(f"SELECT {columns} FROM ledger.alerts WHERE alert_id = %s", ALERT.alert_id) == [
        (
            "BUDGET_THRESHOLD",
            "ALARM",
            "WARNING",
            "u",
            "total",
            Decimal(75),
            Decimal("7.500000000001"),
            Decimal("7.5"),
            "USD",
            3,
            False,
            "75 % of the budget is spent.",
            ALERT.period_start,
            ALERT.raised_at,
        )
    ]


def test_a_commit_that_was_lost_is_made_good(
    ledger: Ledger,
    alerts: Topic,
    settings: Settings,
    start_notifier: Callable[[], Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where no other alert comes in its partition: nobody shall see a lag where there is none."""
    lost: list[list[confluent_kafka.TopicPartition]] = []

    class Forgetful(confluent_kafka.Consumer):
        """A client whose first commit never reaches Kafka, and of which nothing is heard."""

        def commit(self, *given: Any, offsets: list[confluent_kafka.TopicPartition], **more: Any) -> Any:
            if not lost:
                lost.append(offsets)
                return None
            return super().commit(*given, offsets=offsets, **more)

    monkeypatch.setattr(notifier, "Consumer", Forgetful)
    alerts.send_raw([(b"u", encode_alert(ALERT))])
    start_notifier()
    wait_until(lambda: lost, 30, "the alert is stored, and its commit lost")
    config = {"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.notifier_group, "log_level": 0}
    asking = confluent_kafka.Consumer(config)
    [wanted] = lost[0]
    place = confluent_kafka.TopicPartition(alerts.name, wanted.partition)
    wait_until(lambda: asking.committed([place], timeout=5)[0].offset == wanted.offset, 30, "the offset is committed")
    asking.close()
    assert ledger.one("SELECT count(*) FROM ledger.alerts") == 1


def lag_of(registry: CollectorRegistry) -> dict[str, float]:
    """By partition what the notifier tells of its lag."""
    return {
        sample.labels["partition"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == NOTIFIER_LAG.name
    }


def test_lag_is_told_while_alerts_wait_and_of_its_own_partitions_alone(
    ledger: Ledger, alerts: Topic, start_notifier: Callable[..., Running]
) -> None:
    """As long as PostgreSQL takes nothing the lag is there to be seen; that of a partition which went to another one is not."""
    registry = CollectorRegistry()
    several = [replace(ALERT, user_id=f"user-{number}") for number in range(80)]
    with psycopg.connect(ledger.url) as other:
        other.execute("LOCK TABLE ledger.alerts IN EXCLUSIVE MODE")
        start_notifier(registry, database_timeout_seconds=1)
        alerts.send_raw((one.user_id.encode(), encode_alert(one)) for one in several)
        wait_until(lambda: sum(lag_of(registry).values()) > 0, 30, "a lag is told")
        other.rollback()
    everywhere = {str(partition): 0 for partition in range(PARTITIONS)}
    wait_until(lambda: lag_of(registry) == everywhere, 30, "none is left")
    start_notifier()
    wait_until(lambda: len(lag_of(registry)) == PARTITIONS // 2, 30, "the other one's partitions are told of no more")


def test_what_is_no_alert_is_put_aside(
    ledger: Ledger, alerts: Topic, start_notifier: Callable[[], Running], seed: int
) -> None:
    """Rubbish, and alerts that PostgreSQL cannot hold, go to quarantine; their neighbours are stored."""
    # Nothing that repeats: an index entry is compressed before its length counts.
    beyond_an_index = replace(ALERT, user_id=random.Random(seed).randbytes(4_000).hex())
    alerts.send_raw([(b"u", b"rubbish"), (b"u", encode_alert(replace(ALERT, message="a\x00b"))), (b"u", None)])
    alerts.send_raw([(b"u", encode_alert(beyond_an_index))])
    alerts.send_raw([(b"u", encode_alert(replace(ALERT, user_id="v")))])
    notifier = start_notifier()
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.alerts") == 1, 30, "the good alert is stored")
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.quarantine") == 4, 30, "the others are aside")
    assert notifier.stop() == 0
    found = ledger.all("SELECT reason, topic FROM ledger.quarantine ORDER BY 1")
    assert found == [(reason, alerts.name) for reason in ("data_error", "data_error", "undecodable", "undecodable")]


def test_budgets_reach_kafka_in_order(
    ledger: Ledger,
    kafka: KafkaServer,
    names: TopicNames,
    alerts: Topic,
    start_notifier: Callable[[], Running],
) -> None:
    """Every version that was saved is on the topic, in its order, keyed by user; deleting is a tombstone."""
    with ledger.connection.transaction():
        saved = [save_budget(ledger.connection, Budget(user_id="u", monthly_budget=n * 10**12)) for n in (1, 2)]
    notifier = start_notifier()
    saved.append(save_budget(ledger.connection, Budget(user_id="u", monthly_budget=3 * 10**12)))
    assert delete_budget(ledger.connection, "u")
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.budget_outbox") == 0, 30, "the outbox is empty")
    assert notifier.stop() == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "x"})
    consumer.assign([confluent_kafka.TopicPartition(names.budgets, one, 0) for one in range(PARTITIONS)])
    messages: list[confluent_kafka.Message] = []
    wait_until(lambda: messages.extend(consumer.consume(1, 1)) or len(messages) == len(saved) + 1, 30, "all versions")
    messages += consumer.consume(1, 1)
    consumer.close()
    assert {message.key() for message in messages} == {b"u"}
    values = [message.value() for message in messages]
    assert [None if value is None else decode_budget(value) for value in values] == [*saved, None]


@pytest.mark.usefixtures("alerts")
def test_a_budget_reaches_kafka_while_entries_are_rated_again(
    ledger: Ledger, start_notifier: Callable[[], Running]
) -> None:
    """Rating again keeps out another run of itself and nobody else, however long it takes."""
    assert len({lock.value for lock in AdvisoryLock.__members__.values()}) == len(AdvisoryLock.__members__)
    with connect(ledger.url, "rerate", 10) as connection, alone(connection):
        save_budget(ledger.connection, Budget(user_id="u", monthly_budget=10**12))
        notifier = start_notifier()
        wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.budget_outbox") == 0, 30, "the outbox is empty")
        assert notifier.stop() == 0


@pytest.mark.usefixtures("alerts")
def test_a_budget_that_cannot_be_sent_holds_nobody_else_up(
    ledger: Ledger, start_notifier: Callable[..., Running]
) -> None:
    """Saved by a host that knows a zone which this one does not: it waits, with its user's later ones, and is told."""
    save_budget(ledger.connection, Budget(user_id="u", monthly_budget=10**12))
    ledger.connection.execute("UPDATE ledger.budgets SET time_zone = 'Atlantis/Capital'")
    save_budget(ledger.connection, Budget(user_id="u", monthly_budget=2 * 10**12))
    save_budget(ledger.connection, Budget(user_id="v", monthly_budget=10**12))
    running = start_notifier()
    left = "SELECT user_id, version FROM ledger.budget_outbox ORDER BY id"
    wait_until(lambda: ledger.all(left) == [("u", 1), ("u", 2)], 30, "the other user's budget is sent")
    wait_until(lambda: "Atlantis/Capital" in running.worker.health()[1], 30, "it is told")
    assert not running.worker.health()[0]
    ledger.connection.execute("UPDATE ledger.budgets SET time_zone = 'UTC'")
    wait_until(lambda: ledger.all(left) == [], 30, "all are sent")
    wait_until(lambda: running.worker.health()[0], 30, "nothing is wrong any more")
    assert running.stop() == 0

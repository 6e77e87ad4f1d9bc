"""A budget saved over HTTP is a budget enforced, also when Kafka was away at that moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import confluent_kafka
import psycopg
import pytest
from starlette.testclient import TestClient
from tests.api.forwarding import Forwarder
from tests.fixtures.fix_api import bearer
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until

from costledger.schemas.codec import decode_budget
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames

BUDGET = "/api/billing/budget"
#: The client's own waits before it tries to connect again.
DELIVERED_SECONDS_MAX = 60.0


@pytest.fixture
def names(kafka: KafkaServer) -> TopicNames:
    """Topics of this test; the one of budgets is made."""
    names = TopicNames.with_prefix(kafka.unique("api") + ".")
    kafka.create_topic(names.budgets, 2)
    return names


@pytest.fixture
def way(kafka: KafkaServer) -> Iterator[Forwarder]:
    """The way to Kafka, closed at first."""
    way = Forwarder(kafka.bootstrap_servers)
    yield way
    way.close()


def budgets(kafka: KafkaServer, topic: str) -> list[tuple[str, int, int | None]]:
    """(user, version, monthly budget in 1e-12 USD) of every message on the topic."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "enable.partition.eof": True}
    )
    partitions = [confluent_kafka.TopicPartition(topic, number, 0) for number in range(2)]
    consumer.assign(partitions)
    found, ended = [], 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None
        if message.error() is not None:
            ended += 1
            continue
        budget = decode_budget(message.value())
        found.append((budget.user_id, budget.version, budget.monthly_budget))
    consumer.close()
    return found


def outbox(ledger: psycopg.Connection[Any]) -> int:
    row = ledger.execute("SELECT count(*) FROM ledger.budget_outbox").fetchone()
    return int(row[0]) if row else 0


def test_a_budget_saved_while_kafka_is_away(
    api_settings: Settings,
    api_ledger: psycopg.Connection[Any],
    kafka: KafkaServer,
    names: TopicNames,
    way: Forwarder,
    start_api: Callable[[Settings], TestClient],
) -> None:
    """Nobody waits for Kafka; what was saved is in the ledger at once, and on Kafka, in order, when it is back."""
    prefix = names.budgets.removesuffix("cost.budgets")
    client = start_api(api_settings.model_copy(update={"bootstrap_servers": way.address, "topic_prefix": prefix}))
    began = time.monotonic()
    for monthly in (1, 2, 3):
        answer = client.put(BUDGET, json={"monthly_budget": monthly}, headers=bearer("u"))
        assert (answer.status_code, answer.json()["version"]) == (200, monthly)
    assert time.monotonic() - began < 5
    assert client.get(BUDGET, headers=bearer("u")).json()["monthly_budget"] == "3.00"
    assert outbox(api_ledger) == 3
    way.open()
    wait_until(lambda: outbox(api_ledger) == 0, DELIVERED_SECONDS_MAX, "the outbox is empty")
    usd = 10**12
    found = budgets(kafka, names.budgets)
    # At least once, and one user's versions in order.
    assert list(dict.fromkeys(found)) == [("u", 1, usd), ("u", 2, 2 * usd), ("u", 3, 3 * usd)]
    # With Kafka there, at once.
    client.put(BUDGET, json={"monthly_budget": 4}, headers=bearer("u"))
    wait_until(lambda: outbox(api_ledger) == 0, 10, "the outbox is empty again")
    assert ("u", 4, 4 * usd) in budgets(kafka, names.budgets)

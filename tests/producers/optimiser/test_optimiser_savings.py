"""Savings and lookups as events: exact, with their sign, at no cost."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.optimiser.optimising import NOBODY
from tests.producers.reading import read_topic

from costledger.producers import CostTracker, EventDropped
from costledger.producers.savings import (
    BATCH_PROCESSING,
    EMBEDDING_DEDUPLICATION,
    record_lookups,
    record_saving,
)
from costledger.schemas.codec import decode_cost_event
from costledger.schemas.events import CostEvent

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
FLUSH_SECONDS = 30.0


def test_savings_and_lookups_arrive_as_events_that_cost_nothing(kafka: KafkaServer) -> None:
    """The quantity of a saving, in 1e-9 units, is the amount in 1e-12 USD; counts of 0 make no event."""
    topic = kafka.create_topic(kafka.unique("events"))
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        ids = [
            record_saving(tracker, "u", EMBEDDING_DEDUPLICATION, 1_234_567_890_123, metadata={"of": "a"}),
            record_saving(tracker, "u", BATCH_PROCESSING, -1, occurred_at=AT),
            record_saving(tracker, "u", BATCH_PROCESSING, 0),
            *record_lookups(tracker, "u", "embeddings", 7, 3),
            *record_lookups(tracker, "u", "labels", 0, 1),
            *record_lookups(tracker, "u", "labels", 0, 0),
        ]
        assert tracker.flush(FLUSH_SECONDS) == 0
    arrived: dict[Any, CostEvent] = {}
    for message in read_topic(kafka.bootstrap_servers, topic):
        event = decode_cost_event(message.value() or b"")
        arrived[event.event_id] = event
    told = [arrived[event_id] for event_id in ids]
    assert [(event.operation, event.unit, event.quantity) for event in told] == [
        ("saved:embedding_deduplication", "mUSD", 1_234_567_890_123),
        ("saved:batch_processing", "mUSD", -1),
        ("saved:batch_processing", "mUSD", 0),
        ("cache-hit:embeddings", "lookup", 7 * 10**9),
        ("cache-miss:embeddings", "lookup", 3 * 10**9),
        ("cache-miss:labels", "lookup", 1 * 10**9),
    ]
    assert {(event.service, event.amount, event.user_id) for event in told} == {("costledger", 0, "u")}
    assert len(arrived) == len(ids)
    assert (told[0].metadata, told[1].occurred_at) == ({"of": "a"}, AT)


@pytest.mark.parametrize("picodollars", [0.5, True, Decimal(1), "1", None])
def test_a_saving_that_is_no_whole_number_is_refused_and_counted(picodollars: Any) -> None:
    """The host lives; the report names the value."""
    dropped: list[EventDropped] = []
    with CostTracker(NOBODY, "tests", on_error=dropped.append) as tracker:
        record_saving(tracker, "u", BATCH_PROCESSING, picodollars)
        assert tracker.stats()["rejected"] == 1
    assert f"{picodollars!r} picodollars" in dropped[0].explanation


def test_names_and_counts_that_are_none_are_refused_and_counted() -> None:
    """Nothing raises, and no event is made up."""
    wrong: Any = 5
    with CostTracker(NOBODY, "tests") as tracker:
        record_saving(tracker, "u", wrong, 1)
        record_lookups(tracker, "u", wrong, 1, 0)
        record_lookups(tracker, "u", "c", wrong / 0.1 * float("inf"), 0)
        assert tracker.stats()["rejected"] == 3

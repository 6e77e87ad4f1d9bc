"""What the tracker keeps: nothing of events that are done with."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer

from costledger.producers import CostTracker

ROUND_EVENTS = 5_000
#: After the first, which fills what is reused.
COMPARED_ROUNDS = 3
ROUNDS = 1 + 2 * COMPARED_ROUNDS
#: Two bytes an event: a number kept of each would be eight or more.
GROWTH_BYTES_MAX = 2 * COMPARED_ROUNDS * ROUND_EVENTS
FLUSH_SECONDS = 60.0
NOBODY = "127.0.0.1:9"


@pytest.fixture
def traced() -> Iterator[None]:
    """Python's allocations are counted meanwhile."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def growth_bytes(one_round: Callable[[], None]) -> int:
    """From some equal rounds to as many later ones: from the least that is held after one of these to the least of those."""
    kept = []
    for _ in range(ROUNDS):
        one_round()
        gc.collect()
        kept.append(tracemalloc.get_traced_memory()[0])
    return min(kept[-COMPARED_ROUNDS:]) - min(kept[1:-COMPARED_ROUNDS])


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_events_that_are_acknowledged_leave_nothing(kafka: KafkaServer, tmp_path: Path, durability: str) -> None:
    """Of all users and services: none of the tracker's tables grows with the number of events."""
    topic = kafka.create_topic(kafka.unique("events"))
    with CostTracker(kafka.bootstrap_servers, "tests", durability, tmp_path, topic=topic) as tracker:

        def one_round() -> None:
            for number in range(ROUND_EVENTS):
                tracker.track_rekognition(f"user-{number}", "detectLabels", 1 + number % 9)
            assert tracker.flush(FLUSH_SECONDS) == 0

        assert growth_bytes(one_round) < GROWTH_BYTES_MAX
        assert tracker.stats()["acked"] == ROUNDS * ROUND_EVENTS


@pytest.mark.usefixtures("traced")
def test_events_that_are_dropped_leave_nothing() -> None:
    """Without a broker, and with a full queue, for as long as that may last."""
    with CostTracker(
        NOBODY, "tests", topic="t", queue_events_max=ROUND_EVENTS // 2, flush_timeout_seconds=0.1
    ) as tracker:

        def one_round() -> None:
            for number in range(ROUND_EVENTS):
                tracker.track_rekognition(f"user-{number}", "detectLabels", 1 + number % 9)

        assert growth_bytes(one_round) < GROWTH_BYTES_MAX
        assert tracker.stats()["dropped"] == ROUNDS * ROUND_EVENTS - ROUND_EVENTS // 2

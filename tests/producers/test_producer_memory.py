"""What the tracker keeps: nothing of events that are done with."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until

from costledger.producers import CostTracker
from costledger.schemas import event_bytes

ROUND_EVENTS = 5_000
#: After the first, which fills what is reused.
COMPARED_ROUNDS = 3
ROUNDS = 1 + 2 * COMPARED_ROUNDS
#: Two bytes an event, each of a user of its own: a number kept of either would be eight or more.
GROWTH_BYTES_MAX = 2 * COMPARED_ROUNDS * ROUND_EVENTS
FLUSH_SECONDS = 60.0
REST_SECONDS = 10.0
NOBODY = "127.0.0.1:9"


@pytest.fixture
def traced() -> Iterator[None]:
    """Python's allocations are counted meanwhile."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held_bytes() -> int:
    """What Python holds now, without the users whose bytes the codec remembers: up to `USERS_REMEMBERED_MAX`, then it forgets them."""
    event_bytes._users.clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def tracking_users_never_seen(tracker: CostTracker) -> Callable[[], None]:
    """An event for each of so many users, other ones each time; their names are as long as any, so that rounds are alike."""
    numbers = count()

    def one_round() -> None:
        for number in islice(numbers, ROUND_EVENTS):
            tracker.track_rekognition(f"user-{number:09d}", "detectLabels", 1 + number % 9)

    return one_round


def assert_nothing_is_kept(one_round: Callable[[], None]) -> None:
    """From some equal rounds to as many later ones: what is held comes back to the least that was held after the first.

    It comes back, within seconds: a spool deletes acknowledged rows together, and keeps a number of each until then.
    """
    one_round()
    held = []
    for _ in range(COMPARED_ROUNDS):
        one_round()
        held.append(held_bytes())
    for _ in range(COMPARED_ROUNDS):
        one_round()
    wait_until(
        lambda: held_bytes() < min(held) + GROWTH_BYTES_MAX,
        REST_SECONDS,
        f"what is held, after {held}, grows by less than {GROWTH_BYTES_MAX} bytes",
    )


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_events_that_are_acknowledged_leave_nothing(kafka: KafkaServer, tmp_path: Path, durability: str) -> None:
    """Neither of themselves nor of their users: none of the tracker's tables grows with the number of either."""
    topic = kafka.create_topic(kafka.unique("events"))
    with CostTracker(kafka.bootstrap_servers, "tests", durability, tmp_path, topic=topic) as tracker:
        track = tracking_users_never_seen(tracker)

        def one_round() -> None:
            track()
            assert tracker.flush(FLUSH_SECONDS) == 0

        assert_nothing_is_kept(one_round)
        assert tracker.stats()["acked"] == ROUNDS * ROUND_EVENTS


@pytest.mark.usefixtures("traced")
def test_events_that_are_dropped_leave_nothing() -> None:
    """Without a broker, and with a full queue, for as long as that may last."""
    with CostTracker(
        NOBODY, "tests", topic="t", queue_events_max=ROUND_EVENTS // 2, flush_timeout_seconds=0.1
    ) as tracker:
        assert_nothing_is_kept(tracking_users_never_seen(tracker))
        assert tracker.stats()["dropped"] == ROUNDS * ROUND_EVENTS - ROUND_EVENTS // 2

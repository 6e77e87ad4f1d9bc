"""The guard's end: in whichever order it and its tracker are closed, no acknowledgement is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import USD, Tracker, make_guard, show_total

from costledger.producers import CostTracker

RUN_SECONDS_MAX = 60.0
ROOT = Path(__file__).resolve().parents[3]

#: What is settled is acknowledged only while the tracker closes.
SCRIPT = """
import os, signal, sys
from costledger.producers import CostTracker
from tests.producers.guard.guarding import USD, make_guard
kafka, topic, url = sys.argv[1:]
guard = make_guard(url, recovery_seconds=0)
tracker = CostTracker(kafka, "tests", topic=topic, linger_ms=900)
guard.follow(tracker)
made = guard.reserve("ann", USD)
guard.settle("ann", made.reservation_id, USD, [tracker.track_s3("ann", "get", 1)])
"""


def offsets(client: redis.Redis) -> list[float]:
    """Of the settled amounts of `ann` that Redis knows the last event of."""
    return [
        score
        for key in client.scan_iter("costledger:guard:{ann}:offsets:*")
        for _, score in client.zrange(key, 0, -1, withscores=True)
    ]


def test_a_guard_closed_before_its_tracker_hears_what_it_waits_for(redis_url: str, client: redis.Redis) -> None:
    """And then no more: it is no listener for ever."""
    guard, tracker = make_guard(redis_url, recovery_seconds=0), Tracker()
    guard.follow(tracker)
    made, events = guard.reserve("ann", USD), [tracker.track(), tracker.track()]
    guard.settle("ann", made.reservation_id, USD, events)
    guard.close()
    tracker.acknowledge(events[0], 4)
    assert (len(tracker.listeners), offsets(client)) == (1, [])
    tracker.acknowledge(events[1], 5)
    assert (len(tracker.listeners), offsets(client)) == (0, [5])
    guard.close()


def test_a_guard_that_waits_for_nothing_leaves_its_trackers(redis_url: str, client: redis.Redis) -> None:
    """At once; with what was acknowledged before."""
    guard, trackers = make_guard(redis_url, recovery_seconds=0), [Tracker(), Tracker()]
    for tracker in trackers:
        guard.follow(tracker)
    made, event = guard.reserve("ann", USD), trackers[0].track()
    guard.settle("ann", made.reservation_id, USD, [event])
    trackers[0].acknowledge(event, 7)
    guard.close()
    assert offsets(client) == [7]
    assert [tracker.listeners for tracker in trackers] == [[], []]


@pytest.mark.parametrize("guard_first", [True, False])
def test_what_is_acknowledged_while_the_tracker_closes_counts_once(
    kafka: KafkaServer, redis_url: str, client: redis.Redis, guard_first: bool
) -> None:
    """The settled amount ends when the total has its event, in the documented order and in the other."""
    guard = make_guard(redis_url, recovery_seconds=0)
    topic = kafka.create_topic(kafka.unique("events"))
    tracker = CostTracker(kafka.bootstrap_servers, "tests", topic=topic, linger_ms=900)
    guard.follow(tracker)
    made = guard.reserve("ann", USD)
    guard.settle("ann", made.reservation_id, USD, [tracker.track_s3("ann", "get", 1)])
    for each in (guard, tracker) if guard_first else (tracker, guard):
        each.close()
    assert offsets(client) == [0]
    assert len(tracker._listeners) == 0
    show_total(client, "ann", USD, 0)
    with make_guard(redis_url, recovery_seconds=0) as other:
        wait_until(lambda: other.decide("ann", 1).reserved == 0, 10, "the total has it")


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM)],
    ids=["end", "sigterm"],
)
def test_a_host_that_closes_nothing_loses_no_acknowledgement(
    kafka: KafkaServer, redis_url: str, client: redis.Redis, end: str, code: int
) -> None:
    """Whether it comes to its end or is told to: the tracker is flushed, then the guard says what it heard."""
    topic = kafka.create_topic(kafka.unique("events"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + end, kafka.bootstrap_servers, topic, redis_url],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stderr
    assert offsets(client) == [0]

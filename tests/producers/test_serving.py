"""Which threads serve the client's callbacks. The client aborts a process in which one serves within another."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spooling import FLUSH_SECONDS, ids_in

from costledger.producers import CostTracker
from costledger.producers.spool.source import Source

RUN_SECONDS_MAX = 120.0
EVENTS = 3_000

PREAMBLE = """
import json, signal, sys, time
from costledger.producers import CostTracker
bootstrap, topic, directory, events = sys.argv[1:4] + [int(sys.argv[4])]
def end(tracker):
    left = tracker.flush(60)
    print(json.dumps({"left": left, "within": within, **tracker.stats()}))
    tracker.close()
within = 0
"""

#: A handler of a signal flushes while its thread is tracking, flushing, and serving.
FLUSHING_HANDLER = """
tracker = CostTracker(bootstrap, "t", sys.argv[5], directory, topic=topic, linger_ms=1)
def handle(*_):
    global within
    within += 1
    tracker.flush(0.001)
    signal.setitimer(signal.ITIMER_REAL, 0.002)  # only now: it shall not interrupt itself
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.002)
for number in range(events):
    tracker.track_s3(f"user-{number % 20}", "get", 1)
    if not number % 1_000:
        tracker.flush(0.2)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
end(tracker)
"""

#: A listener flushes, tracks more, and closes another tracker.
FLUSHING_LISTENER = """
tracker = CostTracker(bootstrap, "t", sys.argv[5], directory, topic=topic, linger_ms=1)
def hear(*_):
    global within
    within += 1
    if within % 100 == 1:
        tracker.track_s3("more", "get", 1)
        tracker.flush(0.02)
tracker.subscribe(hear)
for number in range(events):
    tracker.track_s3(f"user-{number % 20}", "get", 1)
while tracker.stats()["acked"] < events:
    tracker.flush(0.1)
tracker.unsubscribe(hear)
end(tracker)
"""

#: A handler closes the tracker in the midst of it all: what it takes to end is bounded.
CLOSING_HANDLER = """
tracker = CostTracker(bootstrap, "t", sys.argv[5], directory, topic=topic, linger_ms=1, flush_timeout_seconds=2)
def handle(*_):
    global within
    within += 1
    tracker.close()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
while not within:
    tracker.track_s3("u", "get", 1)
end(tracker)
"""


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def run(script: str, kafka: KafkaServer, topic: str, directory: Path, mode: str) -> dict[str, Any]:
    """What a service says at its end; it must come to it."""
    arguments = [kafka.bootstrap_servers, topic, str(directory), str(EVENTS), mode]
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["within"] > 0
    assert found["tracked"] == found["acked"] + found["spooled"] + found["queued"] + found["dropped"]
    return found


@pytest.mark.parametrize("mode", ["memory", "spool"])
def test_a_handler_that_flushes_may_interrupt_a_callback(
    kafka: KafkaServer, topic: str, tmp_path: Path, mode: str
) -> None:
    """The process lives, and every event arrives once."""
    found = run(FLUSHING_HANDLER, kafka, topic, tmp_path / "spool", mode)
    assert (found["left"], found["acked"]) == (0, EVENTS)
    assert len(set(ids_in(kafka, topic))) == len(ids_in(kafka, topic)) == EVENTS


@pytest.mark.parametrize("mode", ["memory", "spool"])
def test_a_listener_may_flush(kafka: KafkaServer, topic: str, tmp_path: Path, mode: str) -> None:
    """It waits within its time, and keeps no event from anything."""
    found = run(FLUSHING_LISTENER, kafka, topic, tmp_path / "spool", mode)
    assert found["left"] == found["dropped"] == 0
    assert found["acked"] == found["tracked"] > EVENTS


@pytest.mark.parametrize("mode", ["memory", "spool"])
def test_a_handler_may_close_at_any_moment(kafka: KafkaServer, topic: str, tmp_path: Path, mode: str) -> None:
    """The process lives; what Kafka is not known to have is counted as dropped, or is in the spool for the next one."""
    found = run(CLOSING_HANDLER, kafka, topic, tmp_path / "spool", mode)
    assert found["queued"] == 0
    arrived = set(ids_in(kafka, topic))
    assert found["acked"] <= len(arrived) <= found["tracked"]
    if mode == "spool":
        with CostTracker(kafka.bootstrap_servers, "t", "spool", tmp_path / "spool", topic=topic) as tracker:
            tracker.track_s3("u", "get", 1)
            assert tracker.flush(FLUSH_SECONDS) == 0
        assert len(set(ids_in(kafka, topic))) == found["tracked"] - found["dropped"] + 1


@pytest.mark.parametrize("listens", [False, True])
def test_a_thread_that_tracks_runs_no_listener(
    kafka: KafkaServer, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    """With a spool it serves callbacks as it goes along, but not those of the host."""
    served_by: set[int] = set()
    heard_in: set[int] = set()
    delivered = Source.delivered

    def noted(source: Source, *arguments: Any) -> None:
        served_by.add(threading.get_ident())
        delivered(source, *arguments)

    monkeypatch.setattr(Source, "delivered", noted)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", tmp_path, topic=topic, linger_ms=1) as tracker:
        if listens:
            tracker.subscribe(lambda *_: heard_in.add(threading.get_ident()))

        def track_some() -> bool:
            for _ in range(500):
                tracker.track_s3("u", "get", 1)
            return tracker.stats()["acked"] > EVENTS

        wait_until(track_some, FLUSH_SECONDS, "several thousand are acknowledged")
        here = threading.get_ident()
        assert (here in served_by) == (not listens)
        assert here not in heard_in
        assert bool(heard_in) == listens

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
from tests.producers.spool.spooling import FLUSH_SECONDS, ids_in

from costledger.producers import CostTracker, EventDropped
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

#: A listener flushes and tracks more.
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

#: A handler tracks and flushes, or closes, exactly before or after a function is called in the main thread.
INTERRUPTED = """
import threading
from costledger.producers.channel import Channel
from costledger.producers.counters import Counters
from costledger.producers.sender import Sender
from costledger.producers.spool.book import Book
from costledger.producers.spool.file import SpoolFile
from costledger.producers.spool.source import Source
mode, place, when, action = sys.argv[5:9]
owner, name = place.split(".")
owner, visits = globals()[owner], 0
function = getattr(owner, name)
def interrupted(self, *arguments):
    global visits
    here = not within and threading.current_thread() is threading.main_thread()
    visits += here
    now = here and visits == (1 if name == "read_range" else 250)
    if now and when == "before":
        signal.raise_signal(signal.SIGALRM)
    found = function(self, *arguments)
    if now and when == "after":
        signal.raise_signal(signal.SIGALRM)
    return found
setattr(owner, name, interrupted)
tracker = CostTracker(
    bootstrap, "t", mode, directory, 200 if name == "read_range" else None, topic=topic, linger_ms=1, flush_timeout_seconds=1)
def handle(*_):
    global within
    within += 1
    if action == "close":
        tracker.close()
    else:
        for _ in range(5):
            tracker.track_s3("within", "get", 1)
        tracker.flush(1)
signal.signal(signal.SIGALRM, handle)
deadline = time.monotonic() + 60
while not within and time.monotonic() < deadline:
    tracker.track_s3("u", "get", 1)
    if name == "read_range" and tracker.stats()["tracked"] % 1_000 == 0:
        tracker.flush(1)
left = tracker.flush(0 if action == "close" else 60)
print(json.dumps({"left": left, "within": within, **tracker.stats()}))
tracker.close()
"""
PLACES = [
    ("Book.reserve", "before"),
    ("SpoolFile.insert", "before"),
    ("SpoolFile.insert", "after"),
    ("Source.write", "after"),
    ("Sender.send", "before"),
    ("Source.delivered", "before"),
    ("SpoolFile.read_range", "before"),
    ("SpoolFile.read_range", "after"),
]


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def run(script: str, kafka: KafkaServer, topic: str, directory: Path, *more: str) -> dict[str, Any]:
    """What a service says at its end; it must come to it."""
    arguments = [kafka.bootstrap_servers, topic, str(directory), str(EVENTS), *more]
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
    arrived = ids_in(kafka, topic)
    assert len(set(arrived)) == len(arrived) == EVENTS


@pytest.mark.parametrize("mode", ["memory", "spool"])
def test_a_listener_may_flush(kafka: KafkaServer, topic: str, tmp_path: Path, mode: str) -> None:
    """It waits within its time, and keeps no event from anything."""
    found = run(FLUSHING_LISTENER, kafka, topic, tmp_path / "spool", mode)
    assert found["left"] == found["dropped"] == 0
    assert found["acked"] == found["tracked"] > EVENTS


@pytest.mark.parametrize(("place", "when"), PLACES)
def test_a_handler_may_track_anywhere(kafka: KafkaServer, topic: str, tmp_path: Path, place: str, when: str) -> None:
    """With a spool, between any two steps: all that was tracked arrives, by this process."""
    found = run(INTERRUPTED, kafka, topic, tmp_path / "spool", "spool", place, when, "track")
    assert (found["left"], found["dropped"]) == (0, 0)
    assert found["acked"] == found["tracked"] == len(set(ids_in(kafka, topic)))


@pytest.mark.parametrize(("place", "when"), PLACES)
def test_a_handler_may_close_anywhere(kafka: KafkaServer, topic: str, tmp_path: Path, place: str, when: str) -> None:
    """What Kafka is not known to have is on disk for the next process, or is counted as dropped; nothing looks damaged."""
    directory = tmp_path / "spool"
    found = run(INTERRUPTED, kafka, topic, directory, "spool", place, when, "close")
    assert found["queued"] == 0
    errors: list[EventDropped] = []
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic, on_error=errors.append) as tracker:
        tracker.track_s3("u", "get", 1)
        wait_until(lambda: tracker.stats()["resumed"] >= found["spooled"], FLUSH_SECONDS, "what was left is resumed")
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert len(set(ids_in(kafka, topic))) == found["tracked"] - found["dropped"] + 1
    assert errors == []


def test_a_callback_may_close(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """In the delivery thread: whatever is given up by that is counted, too."""
    heard = threading.Event()
    tracker = CostTracker(kafka.bootstrap_servers, "t", "memory", topic=topic, linger_ms=1, flush_timeout_seconds=1)

    def hear(*_: object) -> None:
        tracker.close()
        heard.set()

    tracker.subscribe(hear)
    for number in range(EVENTS):
        tracker.track_s3(f"user-{number % 20}", "get", 1)
    assert heard.wait(FLUSH_SECONDS)
    wait_until(lambda: tracker.stats()["queued"] == 0, FLUSH_SECONDS, "every event is accounted for")
    stats = tracker.stats()
    assert stats["tracked"] == stats["acked"] + stats["dropped"] == EVENTS


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

"""The mode `spool` through outages that outlast the delivery timeout: nothing is lost, and memory does not grow."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import OwnKafka
from tests.producers.spool.spooling import DRAIN_SECONDS, FLUSH_SECONDS, MEBIBYTE, ids_in, watched

from costledger.producers import CostTracker, EventDropped


def outage(own_kafka: OwnKafka, directory: Path, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    """Track through an outage that outlasts the delivery timeout, with a queue much shorter than the backlog."""
    topic = own_kafka.create_topic("outage")
    errors: list[EventDropped] = []
    address = own_kafka.bootstrap_servers
    ids: list[UUID] = []
    with (
        CostTracker(
            *(address, "t", "spool", directory, 400, errors.append), topic=topic, delivery_timeout_seconds=1
        ) as tracker,
        watched(tracker),
    ):

        def track(events: int) -> None:
            ids.extend(tracker.track_s3(f"user-{number % 50}", "get", 1) for number in range(events))

        track(500)
        assert tracker.flush(FLUSH_SECONDS) == 0
        own_kafka.kill()
        resident_before = resident_bytes()
        until = time.monotonic() + seconds
        # So many at least, however slow the machine is.
        while time.monotonic() < until or len(ids) <= 5_500:
            track(100)
            assert not threading.Event().wait(0.02)
        stats = tracker.stats()
        assert (stats["acked"], stats["queued"], stats["dropped"]) == (500, 0, 0)
        assert stats["spooled"] == len(ids) - 500 > 5000
        assert "stay in the spool and are sent again later" in caplog.text
        assert resident_bytes() - resident_before < 100 * MEBIBYTE
        own_kafka.start()
        track(100)
        assert tracker.flush(DRAIN_SECONDS) == 0
        stats = tracker.stats()
        assert (stats["tracked"], stats["acked"], stats["unspooled"]) == (len(ids), len(ids), 0)
    assert errors == []
    # An event that was given back may have arrived all the same: repeats carry the same id.
    assert set(ids_in(own_kafka, topic)) == set(ids)
    assert list(directory.iterdir()) == []


def resident_bytes() -> int:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_an_outage_longer_than_the_delivery_timeout_loses_nothing(
    own_kafka: OwnKafka, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events expire in the client again and again, come back, and arrive when the broker is back."""
    outage(own_kafka, directory, 6, caplog)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.long
def test_a_minute_without_a_broker_loses_nothing(
    own_kafka: OwnKafka, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for 60 seconds."""
    outage(own_kafka, directory, 60, caplog)

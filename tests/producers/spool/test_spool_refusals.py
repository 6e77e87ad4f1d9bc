"""Events that Kafka will not have as they are, and reads of the spool that fail: neither holds up the others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented place
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, ids_in, spool_files, watched

from costledger.producers import CostTracker
from costledger.producers.spool.book import Book
from costledger.producers.spool.errors import SpoolCorrupt, SpoolUnavailable
from costledger.producers.spool.file import Row, SpoolFile
from costledger.producers.spool.source import PAUSE_SECONDS, Source

MESSAGE_BYTES_MAX = 400
TOO_LARGE = 3
GOOD = 100


def test_events_that_are_too_large_hold_up_no_others(
    kafka: KafkaServer, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As many of them as the queue has room for are parked; all others arrive; the next process tries them again."""
    topic = kafka.create_topic(kafka.unique("small"), 1, {"max.message.bytes": str(MESSAGE_BYTES_MAX)})
    noise = {"noise": random.Random(seed).randbytes(1000).hex()}
    with (
        CostTracker(
            *(kafka.bootstrap_servers, "t", "spool", tmp_path, 4), topic=topic, flush_timeout_seconds=0
        ) as tracker,
        watched(tracker),
    ):
        bad = [tracker.track_s3("bad", "get", 1, metadata=noise) for _ in range(TOO_LARGE)]
        wait_until(lambda: "parked as Kafka refuses them" in caplog.text, FLUSH_SECONDS, "they are parked")
        good = [tracker.track_s3("good", "get", 1) for _ in range(GOOD)]
        wait_until(lambda: tracker.stats()["acked"] == GOOD, FLUSH_SECONDS, "all others arrive")
        stats = tracker.stats()
        assert (stats["tracked"], stats["spooled"], stats["dropped"]) == (GOOD + TOO_LARGE, TOO_LARGE, 0)
    assert caplog.text.count("MSG_SIZE_TOO_LARGE") < 2 * TOO_LARGE
    assert sorted(ids_in(kafka, topic)) == sorted(good)
    assert len(spool_files(tmp_path)) == 1
    allow_large_messages(kafka, topic)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", tmp_path, topic=topic) as tracker:
        wait_until(lambda: tracker.stats()["acked"] == TOO_LARGE, FLUSH_SECONDS, "the next process sends them")
    assert sorted(ids_in(kafka, topic)) == sorted(good + bad)


def allow_large_messages(kafka: KafkaServer, topic: str) -> None:
    """Raise the topic's limit to Kafka's default."""
    entry = ConfigEntry("max.message.bytes", "1048588", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(FLUSH_SECONDS)


class Failing(SpoolFile):
    """A file whose next read of unread rows fails."""

    error: SpoolUnavailable | None = None

    def read_range(self, first: int, end: int, rows_max: int) -> list[Row]:
        """Fail once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return super().read_range(first, end, rows_max)


def source_with_returned_rows(directory: Path) -> tuple[Failing, Source]:
    """Ten rows that the client has refused, and ten that are unread."""
    file = Failing.create(directory, "t", 2**20, "normal")
    source = Source(file, Book(), 0, lambda _message: None)
    rows = [source.write(b"k", b"v", 10) for _ in range(20)]
    for row, direct in rows:
        if direct:
            source.refused(row, KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)))
    source.settle(0.0)
    assert (source.book.in_flight, source.book.held, source.unacknowledged) == (0, 10, 20)
    return file, source


def test_a_read_that_fails_once_leaves_no_row_behind(tmp_path: Path) -> None:
    """Rows that were due when another read failed are due again, and not taken for being in the client."""
    file, source = source_with_returned_rows(tmp_path)
    file.error = SpoolUnavailable("an error of the disk")
    with pytest.raises(SpoolUnavailable):
        source.take(10.0, 500, 500)
    assert source.book.in_flight == 0
    assert source.take(10.0, 500, 500) == []
    assert [row for row, _, _ in source.take(10.0 + PAUSE_SECONDS, 500, 500)] == list(range(1, 21))
    file.remove()


def test_corruption_counts_all_that_the_client_has_not(tmp_path: Path) -> None:
    """Also those rows that were just about to be given to it."""
    file, source = source_with_returned_rows(tmp_path)
    file.error = SpoolCorrupt("a page is malformed")
    with pytest.raises(SpoolCorrupt) as raised:
        source.take(10.0, 500, 500)
    assert source.give_up(raised.value) == 20
    assert source.finished()
    file.remove()


@pytest.mark.parametrize("raised", [False, True])
def test_what_kafka_refuses_takes_no_place(tmp_path: Path, raised: bool) -> None:
    """Whether the broker says so in the callback, or the client at once."""
    file, source = source_with_returned_rows(tmp_path)
    rows = [row for row, _, _ in source.take(10.0, 10, 0)]
    error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    for row in rows:
        source.refused(row, KafkaException(error)) if raised else source._failed.append((row, error))
    errors = source.settle(10.0)[1]
    assert len(errors) == 10
    assert (source.book.held, source.book.parked, source.unacknowledged) == (0, 10, 20)
    assert not source.idle()
    unread = [row for row, _, _ in source.take(10.0, 10, 10)]
    assert unread == list(range(11, 21))
    source.book.acknowledge(unread)
    source.unacknowledged -= len(unread)
    source.delete(10.0, at_once=True)
    assert source.idle()
    assert not source.finished()
    file.remove()

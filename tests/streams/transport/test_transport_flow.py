"""What is fetched and when it counts as dealt with, in the test's own process, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.wait import wait_until
from tests.streams.transport.test_transport_stage import LastValue, Running, Waiting, send
from tests.streams.transport.transport_cluster import Cluster

from costledger.streams.transport import Batch, changelog_topic, processor
from costledger.streams.transport import stage as stage_module


@pytest.fixture
def cluster(kafka: Any, tmp_path: Path) -> Iterator[Cluster]:
    """Topics of the test's own."""
    cluster = Cluster(kafka, tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def apps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The Faust apps of the stages that the test starts."""
    made: list[Any] = []
    build = stage_module.build_app
    monkeypatch.setattr(stage_module, "build_app", lambda *given: made.append(build(*given)) or made[-1])
    return made


def committed(running: Running) -> int:
    """How many records of the main topic are committed."""
    return sum(row.committed or 0 for row in running.stage.stats())


def test_only_what_is_read_is_fetched(cluster: Cluster, apps: list[Any]) -> None:
    """The client holds nothing of the changelog while it grows, and asks for the source topics alone."""
    changelog = changelog_topic(cluster.app_id, "totals")
    running = Running(cluster, LastValue())
    try:
        for total in (100, 200):
            send(cluster, *((b"k%d" % number, b"v%d" % total) for number in range(100)))
            wait_until(lambda total=total: committed(running) == total, 20, "all is committed")
        client = apps[0].consumer._thread._ensure_consumer()
        assert {tp for tp in client.assignment() if tp.topic == changelog} == client.paused()
        wait_until(
            lambda: all(tp.topic != changelog for tp in client._fetcher._records), 5, "nothing of the changelog is held"
        )
    finally:
        assert running.stop() == 0


class Lacking(Waiting):
    """As `Waiting`; and what was applied, by how often."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[bytes] = []

    def process(self, batch: Batch) -> None:
        super().process(batch)
        self.applied += [record.key for record in batch.records]


def test_what_waits_over_a_rebalance_is_applied(
    cluster: Cluster, apps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that could not be processed before a rebalance, and comes again after it, is not passed over, whenever the
    first attempt's wait ends."""
    # Longer than a rebalance takes: the first batch still waits when the assignment is open again.
    monkeypatch.setattr(processor, "UNAVAILABLE_RETRY_SECONDS", 8.0)
    handler = Lacking()
    running = Running(cluster, handler)
    try:
        wait_until(lambda: running.stage.health().ready, 20, "the stage is ready")
        send(cluster, (b"k", b"v"))
        wait_until(lambda: handler.asked_at, 20, "the first attempt")
        app, epoch = apps[0], apps[0].consumer.runtime.epoch
        topics = (*running.stage.config.source_topics, changelog_topic(cluster.app_id, "totals"))
        rejoined = app.consumer.rejoin_when_known(topics, cluster.partitions)
        asyncio.run_coroutine_threadsafe(rejoined, running.stage._loop).result(10)
        wait_until(lambda: app.consumer.runtime.epoch > epoch and app.consumer.runtime.writable, 20, "open again")
        wait_until(lambda: len(handler.asked_at) >= 2, 20, "the batch comes again")
        # The next fetch brings nothing: what is at the end of the log would count as passed now.
        wait_until(lambda: len(handler.asked_at) >= 3, 20, "and waits")
        handler.may.set()
        wait_until(lambda: handler.applied, 20, "it is applied")
        wait_until(lambda: committed(running) == 1, 20, "and committed")
    finally:
        assert running.stop() == 0
    assert handler.applied == [b"k"]

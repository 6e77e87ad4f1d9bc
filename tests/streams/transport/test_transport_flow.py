"""What is fetched and when it counts as dealt with, in the test's own process, on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.group import SyncGroupRequest
from faust.types import TP
from tests.fixtures.wait import wait_until
from tests.streams.transport.running_stage import LastValue, Running, Waiting, send
from tests.streams.transport.transport_cluster import Cluster

from costledger.streams.transport import Batch, changelog_topic, processor
from costledger.streams.transport import stage as stage_module
from costledger.streams.transport.consumer import BatchConsumer
from costledger.streams.transport.consumer_thread import BatchConsumerThread
from costledger.streams.transport.runtime import Runtime


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


def join_again(running: Running, app: Any) -> None:
    """Have the group assign anew."""
    topics = (*running.stage.config.source_topics, changelog_topic(running.stage.config.app_id, "totals"))
    rejoined = app.consumer.rejoin_when_known(topics, running.stage.config.partitions)
    asyncio.run_coroutine_threadsafe(rejoined, running.stage._loop).result(10)


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
        join_again(running, app)
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


def test_an_opening_whose_partitions_are_taken_away_is_none(
    cluster: Cluster, apps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation while positions are set: nothing may be read or written until the next assignment; from then on all is."""
    seek_wait, open_assignment = BatchConsumer.seek_wait, Runtime.open
    opened: list[bool] = []

    async def seek_and_lose(consumer: BatchConsumer, positions: Any) -> None:
        await seek_wait(consumer, positions)
        if not opened:
            await consumer.runtime.release()

    async def watched(runtime: Runtime) -> None:
        await open_assignment(runtime)
        opened.append(runtime.writable)

    monkeypatch.setattr(BatchConsumer, "seek_wait", seek_and_lose)
    monkeypatch.setattr(Runtime, "open", watched)
    running = Running(cluster, LastValue())
    try:
        wait_until(lambda: opened, 20, "the first opening has ended")
        assert opened == [False]
        join_again(running, apps[0])
        wait_until(lambda: opened == [False, True], 20, "the next assignment is open")
        send(cluster, (b"k", b"v"))
        wait_until(lambda: committed(running) == 1, 20, "what is sent is committed")
    finally:
        assert running.stop() == 0


def test_a_membership_counts_from_when_partitions_were_asked_for(
    cluster: Cluster, apps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the answer comes later than a session lasts, another worker may own them by then: nothing may be written."""
    make, ask, assign = (
        BatchConsumerThread.__post_init__,
        GroupCoordinator._send_req,
        BatchConsumer.on_partitions_assigned,
    )
    late = [2.5]
    may_write: list[bool] = []

    def with_short_session(thread: BatchConsumerThread) -> None:
        make(thread)
        thread._session_seconds = 2.0

    async def answered_late(coordinator: GroupCoordinator, request: Any) -> Any:
        response = await ask(coordinator, request)
        if isinstance(request, SyncGroupRequest) and late:
            await asyncio.sleep(late.pop())
        return response

    async def noted(consumer: BatchConsumer, assigned: set[TP], generation_id: int = 0) -> None:
        may_write.append(consumer.may_write())
        # Shorter than heartbeats are apart: for the answer alone.
        consumer._thread._session_seconds = running.stage.config.session_timeout_seconds
        await assign(consumer, assigned, generation_id)

    monkeypatch.setattr(BatchConsumerThread, "__post_init__", with_short_session)
    monkeypatch.setattr(GroupCoordinator, "_send_req", answered_late)
    monkeypatch.setattr(BatchConsumer, "on_partitions_assigned", noted)
    running = Running(cluster, LastValue())
    try:
        wait_until(lambda: running.stage.health().ready, 20, "the stage is ready")
        assert may_write == [False]
        join_again(running, apps[0])
        wait_until(lambda: may_write == [False, True], 20, "the next answer is in time")
        wait_until(lambda: running.stage.health().ready, 20, "the stage is ready again")
    finally:
        assert running.stop() == 0


def test_what_only_the_collector_frees_is_freed(
    cluster: Cluster, leave_garbage: Callable[[], Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has the collector hardly ever come by itself, and its stage calls it."""
    monkeypatch.setattr(stage_module, "COLLECT_SECONDS", 0.5)
    running = Running(cluster, LastValue())
    try:
        wait_until(lambda: running.stage.health().ready, 20, "the stage is ready")
        is_there = leave_garbage()
        assert is_there()
        wait_until(lambda: not is_there(), 20, "the garbage is gone")
    finally:
        assert running.stop() == 0

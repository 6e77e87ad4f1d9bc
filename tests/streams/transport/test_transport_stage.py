"""The stage in the test's own process: health, statistics, stopping, recovery of what was deleted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.fixtures.wait import wait_until
from tests.streams.transport.running_stage import LastValue, Running, Waiting, send
from tests.streams.transport.transport_cluster import Cluster

from costledger.streams.transport import Batch, changelog_topic
from costledger.streams.transport.recovery import BatchRecovery


@pytest.fixture
def cluster(kafka: Any, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(kafka, tmp_path)
    yield cluster
    cluster.stop()


def test_health_and_stats_follow_the_stage(cluster: Cluster) -> None:
    """Health and statistics tell of the start, of lag and of the stop; views and timers are called."""
    handler = LastValue()
    running = Running(cluster, handler)
    stage = running.stage
    try:
        assert not stage.health().ready
        wait_until(lambda: stage.health().ready, 20, "the stage is ready")
        assert stage.health().partitions == (0, 1, 2, 3)
        assert stage.health().reason is None
        send(cluster, *((b"k%d" % number, b"v") for number in range(100)))
        wait_until(lambda: sum(row.committed or 0 for row in stage.stats()) == 100, 20, "all is committed")
        wait_until(lambda: all(row.lag == 0 for row in stage.stats()), 20, "no lag is left")
        assert sum(row.position for row in stage.stats()) == 100
        wait_until(lambda: handler.calls["tick"] > 0 and handler.calls["flushed"] > 0, 20, "views and timers")
    finally:
        code = running.stop()
    assert code == 0
    assert not stage.health().ready
    assert stage.stats() == []


@pytest.mark.slow
def test_a_recovery_that_a_rebalance_cuts_short_goes_on(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record of the changelog is read once, by a worker that keeps the partition over the rebalance."""
    keys = 60_000
    filling = Running(cluster, LastValue())
    try:
        send(cluster, *((b"k%d" % number, b"v") for number in range(keys)))
        wait_until(
            lambda: sum(row.committed or 0 for row in filling.stage.stats()) == keys, 60, "the changelog is full"
        )
    finally:
        assert filling.stop() == 0
    read: list[tuple[BatchRecovery, int, int, int, int]] = []
    apply, unread = BatchRecovery.apply, BatchRecovery.unread

    def noted(self: BatchRecovery, tp: Any, records: Any) -> None:
        epoch = self.app.transport.runtime.epoch
        read.append((self, tp.partition, epoch, records[0].offset, records[-1].offset))
        apply(self, tp, records)

    def unread_of_half(self: BatchRecovery) -> set[Any]:
        """Of each partition the first part, until there is a rebalance; the other worker reads all."""
        runtime = self.app.transport.runtime
        reads_all = runtime.handler is handlers[1] or (bool(read) and runtime.epoch > read[0][2])
        return {tp for tp in unread(self) if reads_all or self.next_to_read(tp) < keys / 10}

    handlers = [LastValue(), LastValue()]
    monkeypatch.setattr(BatchRecovery, "apply", noted)
    monkeypatch.setattr(BatchRecovery, "unread", unread_of_half)
    running = [Running(cluster, handlers[0], poll_records_max=500)]
    try:
        wait_until(
            lambda: len({one[1] for one in read if one[4] + 1 >= keys / 10}) == 4, 30, "the recovery is under way"
        )
        running.append(Running(cluster, handlers[1]))
        wait_until(lambda: all(one.stage.health().ready for one in running), 60, "both are ready")
        parts = [one.stage.health().partitions for one in running]
    finally:
        codes = [one.stop() for one in running]
    assert codes == [0, 0]
    assert sorted(sum(parts, ())) == [0, 1, 2, 3]
    for partition in parts[0]:
        mine = [one[2:] for one in read if one[0] is read[0][0] and one[1] == partition]
        assert len({epoch for epoch, _, _ in mine}) > 1  # read on after the rebalance
        assert all(later == before + 1 for (_, _, before), (_, later, _) in itertools.pairwise(mine))
    assert sum(len(handler.restored) for handler in handlers) == keys


def test_a_handler_that_lacks_something_is_waited_for(cluster: Cluster) -> None:
    """Nothing is committed meanwhile, health says why, it is no stall however long it takes, and the batch comes again; a
    stage that is asked to stop while it waits ends in good order."""
    handler = Waiting()
    stall_seconds = 7.0
    running = Running(cluster, handler, stall_timeout_seconds=stall_seconds)
    send(cluster, (b"k", b"v"))
    try:
        wait_until(lambda: handler.asked_at, 20, "the first attempt")
        wait_until(lambda: running.stage.health().reason == "the schema registry is away", 5, "health says why")
        assert not running.stage.health().ready
        wait_until(lambda: handler.asked_at[-1] - handler.asked_at[0] > stall_seconds + 1, 20, "a long wait")
        assert sum(row.committed or 0 for row in running.stage.stats()) == 0
    finally:
        code = running.stop()
    assert code == 0
    handler.may.set()
    again = Running(cluster, handler)
    try:
        wait_until(lambda: sum(row.committed or 0 for row in again.stage.stats()) == 1, 20, "it is committed")
        assert again.stage.health().ready
    finally:
        assert again.stop() == 0
    assert handler.calls["process"] == 1


class Hoarding(LastValue):
    """How many keys were pending at most after a batch, and how large batches were."""

    most = 0
    largest = 0

    def process(self, batch: Batch) -> None:
        super().process(batch)
        self.most, self.largest = max(self.most, self.pending()), max(self.largest, len(batch.records))


def test_ever_new_keys_are_written_before_more_is_read(cluster: Cluster) -> None:
    """However long a flush would wait while there is lag, no more keys are pending than allowed and one batch brings."""
    keys = 20_000
    send(cluster, *((b"k%d" % number, b"v") for number in range(keys)))
    handler = Hoarding()
    # No flush but those that are called for.
    running = Running(cluster, handler, flush_keys_max=700, poll_records_max=300, flush_interval_seconds=3600.0)
    try:
        wait_until(
            lambda: sum(row.committed or 0 for row in running.stage.stats()) >= keys - 1000, 30, "most is committed"
        )
    finally:
        assert running.stop() == 0
    assert handler.largest <= 300
    assert 700 < handler.most <= 1000
    assert sum(map(len, handler.state.values())) == keys


def test_deleted_key_is_not_restored(cluster: Cluster) -> None:
    """What was deleted stays deleted after a restart; what was written comes back with its offset."""
    running = Running(cluster, LastValue())
    send(cluster, (b"a", b"1"), (b"b", b"1"))
    wait_until(cluster.all_committed, 20, "the first values are committed")
    send(cluster, (b"a", b"drop"), (b"c", b"1"))
    wait_until(cluster.all_committed, 20, "the deletion is committed")
    assert running.stop() == 0
    handler = LastValue()
    running = Running(cluster, handler)
    wait_until(lambda: running.stage.health().ready, 20, "the stage is ready")
    assert running.stop() == 0
    assert sorted(handler.restored) == [b"b", b"c"]
    assert handler.calls["process"] == 0


def test_values_larger_than_a_batch_come_back(cluster: Cluster) -> None:
    """A value of any size is restored as it was, its successor replaces it, and nothing of it stays behind."""
    running = Running(cluster, LastValue(), batch_bytes_max=2_000)
    large = bytes(range(256)) * 40
    send(cluster, (b"a", large), (b"b", large), (b"c", b"1"))
    wait_until(cluster.all_committed, 20, "the first values are committed")
    send(cluster, (b"a", large[1:]), (b"b", b"small"))
    wait_until(cluster.all_committed, 20, "the second values are committed")
    assert running.stop() == 0
    handler = LastValue()
    running = Running(cluster, handler, batch_bytes_max=2_000)
    wait_until(lambda: running.stage.health().ready, 20, "the stage is ready")
    send(cluster, (b"a", b"drop"))
    wait_until(cluster.all_committed, 20, "the deletion is committed")
    assert running.stop() == 0
    assert {key: value for key, (_, value) in handler.restored.items()} == {b"a": large[1:], b"b": b"small", b"c": b"1"}
    assert [table.parts for table in cluster.recovered().values() if table.parts] == []


def test_group_too_large_for_a_batch_stops_the_stage(cluster: Cluster) -> None:
    """Keys larger than a record batch are an error that names the limit; nothing is committed."""
    running = Running(cluster, LastValue(), batch_bytes_max=2_000)
    send(cluster, (b"x" * 3_000, b"a"))
    running.thread.join(20)
    assert running.code == 1
    assert "batch_bytes_max is 2000" in (running.stage.health().reason or "")
    assert all(offset <= 0 for offset in cluster.committed(cluster.main).values())


def test_missing_changelog_is_a_stall(kafka: Any, tmp_path: Path) -> None:
    """Without its changelog the stage reads nothing, says why, and gives up after the stall timeout."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker makes every topic that is asked for")
    cluster = Cluster(kafka, tmp_path, without_changelog=True)
    handler = LastValue()
    running = Running(cluster, handler, stall_timeout_seconds=7.0)
    send(cluster, (b"a", b"1"))
    wait_until(lambda: "changelog is missing" in (running.stage.health().reason or ""), 20, "health names the topic")
    assert not running.stage.health().ready
    running.thread.join(30)
    assert running.code == 1
    assert "stalled: no progress" in (running.stage.health().reason or "")
    assert handler.calls["process"] == 0


def test_a_topic_that_appears_is_read_at_once(kafka: Any, tmp_path: Path) -> None:
    """A broker that has just come back may not know its topics for a moment: the stage asks again, and goes on by itself."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker makes every topic that is asked for")
    cluster = Cluster(kafka, tmp_path, without_changelog=True)
    handler = LastValue()
    running = Running(cluster, handler, stall_timeout_seconds=60.0)
    try:
        send(cluster, (b"a", b"1"))
        wait_until(
            lambda: "changelog is missing" in (running.stage.health().reason or ""), 20, "health says what lacks"
        )
        kafka.create_topic(changelog_topic(cluster.app_id, "totals"), cluster.partitions, {"cleanup.policy": "compact"})
        wait_until(lambda: running.stage.health().ready, 30, "the stage reads")
        wait_until(lambda: handler.calls["process"] == 1, 20, "the record is processed")
    finally:
        running.stage.stop()
        running.thread.join(20)
    assert running.code == 0


def test_what_a_transaction_took_back_is_never_seen(kafka: Any, tmp_path: Path) -> None:
    """Nor waited for: neither markers at the end of a topic nor a transaction that is still open are lag."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker's transactions leave no markers")
    cluster = Cluster(kafka, tmp_path, partitions=1, limits=True)
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "transactional.id": f"{cluster.main}-t"})
    producer.init_transactions(30)

    def transaction(topic: str, key: bytes, end: Callable[[float], None] | None) -> None:
        producer.begin_transaction()
        producer.produce(topic, key=key, value=b"1", partition=0)
        assert producer.flush(10) == 0
        if end is not None:
            end(30)

    for topic in (cluster.limits, cluster.main):
        transaction(topic, topic.encode() + b" committed", producer.commit_transaction)
        transaction(topic, topic.encode() + b" aborted", producer.abort_transaction)
    handler = LastValue()
    running = Running(cluster, handler, prerequisite_topics=(cluster.limits,), stall_timeout_seconds=7.0)
    committed = {cluster.limits.encode() + b" committed": b"1", cluster.main.encode() + b" committed": b"1"}
    try:
        wait_until(
            lambda: cluster.state() == committed, 30, "what was committed is read, past the markers of what was not"
        )
        transaction(cluster.main, b"late", None)
        lag_for = time.monotonic() + 9.0
        wait_until(lambda: time.monotonic() > lag_for, 30, "longer than a stall may last")
        assert running.stage.health().ready
        assert cluster.state() == committed
        producer.commit_transaction(30)
        wait_until(lambda: cluster.state() == {**committed, b"late": b"1"}, 30, "it is read once it is committed")
    finally:
        assert running.stop() == 0
    assert handler.calls["process"] == 3

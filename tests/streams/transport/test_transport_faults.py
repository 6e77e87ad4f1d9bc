"""The transport under kills, restarts and rebalances: state equals the truth, outputs are complete."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.wait import wait_until
from tests.streams.transport.transport_cluster import Cluster

pytestmark = pytest.mark.fault
OPEN = "Open: "


@pytest.fixture
def cluster(kafka: Any, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(kafka, tmp_path)
    yield cluster
    cluster.stop()


def test_graceful_restarts_replay_nothing(cluster: Cluster) -> None:
    """A graceful restart replays nothing: each record is applied once over all runs, no output repeats."""
    applied = 0
    for _ in range(3):
        worker = cluster.worker()
        wait_until(lambda worker=worker: worker.said(OPEN), 30, "the worker reads")
        cluster.produce(20_000)
        assert worker.terminate() == 0
        report = worker.report()
        assert report["skipped"] == 0
        applied += report["applied"]
    worker = cluster.worker()
    wait_until(cluster.all_committed, 30, "everything is committed")
    assert worker.terminate() == 0
    applied += worker.report()["applied"]
    assert applied == sum(count for _, count in cluster.truth.values())
    cluster.check(repeats_allowed=False)


def test_kill_mid_batch(cluster: Cluster) -> None:
    """A worker killed at any moment loses nothing and counts nothing twice."""
    cluster.produce(60_000)
    for records in (100, 500, 1000, 2000):
        worker = cluster.worker(poll_records_max=records, flush_interval_seconds=0.02)
        before = sum(cluster.committed(cluster.main).values())
        wait_until(
            lambda before=before: sum(cluster.committed(cluster.main).values()) > before,
            40,
            "something is committed",
        )
        worker.kill()
        cluster.produce(5_000)
    worker = cluster.worker()
    wait_until(cluster.all_committed, 60, "everything is committed")
    assert worker.terminate() == 0
    cluster.check(repeats_allowed=True)


def test_workers_join_and_leave(cluster: Cluster) -> None:
    """Workers that join and leave in good order replay nothing and repeat no output."""
    workers = [cluster.worker()]
    wait_until(lambda: workers[0].said(OPEN), 30, "the first worker reads")
    for _ in range(3):
        cluster.produce(15_000)
        workers.append(cluster.worker())
        wait_until(lambda: workers[-1].said(OPEN), 30, "the next worker reads")
        cluster.produce(15_000)
        assert workers.pop(0).terminate() == 0
    wait_until(cluster.all_committed, 60, "everything is committed")
    assert workers[0].terminate() == 0
    cluster.check(repeats_allowed=False)
    assert sum(worker.report()["applied"] for worker in cluster.workers) == 90_000


def test_one_of_two_workers_killed(cluster: Cluster) -> None:
    """The survivor takes over what a killed worker leaves, once its session has timed out."""
    first, second = cluster.worker(), cluster.worker()
    for worker in (first, second):
        wait_until(lambda worker=worker: worker.said(OPEN), 40, "both workers read")
    cluster.produce(40_000)
    second.kill()
    cluster.produce(10_000)
    wait_until(cluster.all_committed, 60, "everything is committed")
    assert first.terminate() == 0
    cluster.check(repeats_allowed=True)


def test_suspended_worker_writes_nothing_late(cluster: Cluster) -> None:
    """A worker suspended past its session, with work not yet written and a flush due, writes nothing when
    it wakes, and joins the group again."""
    first = cluster.worker(flush_interval_seconds=8.0)
    wait_until(lambda: first.said(OPEN), 30, "the first worker reads")
    second = cluster.worker()
    wait_until(lambda: second.said(OPEN), 40, "the second worker reads")
    wait_until(lambda: first.log_path.read_text().count(OPEN) == 2, 40, "the first reads its half")
    cluster.produce(30_000)
    ends = cluster.ends(cluster.main)
    wait_until(
        lambda: sum(cluster.committed(cluster.main)[partition] == end for partition, end in ends.items()) >= 2,
        30,
        "the second worker has committed its half",
    )
    first.process.send_signal(signal.SIGSTOP)
    cluster.produce(10_000)
    wait_until(cluster.all_committed, 60, "the other worker has taken over")
    first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: first.log_path.read_text().count(OPEN) == 3, 40, "it joins again")
    # Before more records write every key again, which would hide a late write.
    assert not any(partition.repairs() for partition in cluster.recovered().values())
    cluster.produce(10_000)
    wait_until(cluster.all_committed, 60, "everything is committed")
    assert [first.terminate(), second.terminate()] == [0, 0]
    assert "overtaken" not in first.log_path.read_text() + second.log_path.read_text()
    cluster.check(repeats_allowed=True)


def test_prerequisites_come_first(kafka: Any, tmp_path: Path) -> None:
    """Main-topic records wait until the prerequisite topic is read to its end, also when it is empty."""
    cluster = Cluster(kafka, tmp_path, limits=True)
    try:
        cluster.produce(20_000)
        cluster.produce(200, topic=cluster.limits)
        worker = cluster.worker(poll_records_max=50)
        wait_until(cluster.all_committed, 60, "everything is committed")
        assert worker.terminate() == 0
        assert worker.report()["unlimited"] == 0
        assert sum(key.startswith(b"limit:") for key in cluster.state()) == 200
        cluster.check(repeats_allowed=False)
    finally:
        cluster.stop()
    empty = Cluster(kafka, tmp_path, limits=True)
    try:
        empty.produce(1_000)
        worker = empty.worker()
        wait_until(empty.all_committed, 30, "nothing waits for an empty prerequisite")
        assert worker.terminate() == 0
    finally:
        empty.stop()


def test_failing_handler_stops_the_worker(cluster: Cluster) -> None:
    """An exception of the handler ends the worker with exit code 1 and a traceback; nothing after the last
    flush is committed, and the next worker goes on from there."""
    cluster.produce(10_000)
    worker = cluster.worker(options={"fail_at": 4_000}, poll_records_max=500)
    assert worker.process.wait(30) == 1
    log = worker.log_path.read_text()
    assert "RuntimeError: failing as told" in log
    assert "Traceback" in log
    assert sum(offset for offset in cluster.committed(cluster.main).values() if offset > 0) < 4_000
    worker = cluster.worker()
    wait_until(cluster.all_committed, 30, "everything is committed")
    assert worker.terminate() == 0
    cluster.check(repeats_allowed=True)


def test_failed_changelog_write_commits_nothing(kafka: Any, tmp_path: Path) -> None:
    """When the broker refuses the state the worker ends with exit code 1 and no offset is committed."""
    cluster = Cluster(kafka, tmp_path, changelog={"max.message.bytes": "100"})
    try:
        cluster.produce(5_000)
        worker = cluster.worker()
        assert worker.process.wait(30) == 1
        assert "MessageSizeTooLarge" in worker.log_path.read_text()
        assert all(offset <= 0 for offset in cluster.committed(cluster.main).values())
    finally:
        cluster.stop()


def test_wrong_number_of_partitions_is_named(kafka: Any, tmp_path: Path) -> None:
    """Topics that are not co-partitioned are refused by name."""
    cluster = Cluster(kafka, tmp_path)
    try:
        worker = cluster.worker(partitions=8)
        assert worker.process.wait(30) == 1
        assert f"topic {cluster.main} has 4 partitions, 8 are configured" in worker.log_path.read_text()
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.long
def test_rebalance_storm(cluster: Cluster) -> None:
    """Under load, workers that come, go and are killed at random lose nothing and count nothing twice."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    running = [cluster.worker()]
    for _ in range(12):
        cluster.produce(5_000)
        if len(running) < 3 or chance.random() < 0.4:
            running.append(cluster.worker(flush_interval_seconds=0.05, poll_records_max=300))
            wait_until(lambda: running[-1].said("Assigned"), 60, f"the new worker joins (seed {seed})")
        else:
            worker = running.pop(chance.randrange(len(running)))
            if chance.random() < 0.5:
                worker.kill()
            else:
                assert worker.terminate(25) in {0, 1}, f"seed {seed}"
    running.append(cluster.worker())
    wait_until(cluster.all_committed, 120, f"everything is committed (seed {seed})")
    for worker in running:
        worker.terminate(25)
    cluster.check(repeats_allowed=True)


@pytest.mark.durable
@pytest.mark.slow
def test_broker_killed_under_load(own_kafka: Any, tmp_path: Path) -> None:
    """A broker killed mid-way and started again costs nothing: the worker, or the one started in its
    place, goes on to the truth."""
    cluster = Cluster(own_kafka, tmp_path)
    try:
        cluster.produce(40_000)
        worker = cluster.worker(poll_records_max=200, flush_interval_seconds=0.05)
        wait_until(lambda: sum(cluster.committed(cluster.main).values()) > 0, 40, "something is committed")
        own_kafka.kill()
        own_kafka.start()
        cluster.produce(10_000)

        def done() -> bool:
            if cluster.workers[-1].process.poll() is not None:
                assert cluster.workers[-1].process.returncode == 1
                cluster.worker()
            return cluster.all_committed()

        wait_until(done, 90, "everything is committed")
        worker = cluster.workers[-1]
        assert worker.terminate() == 0
        cluster.check(repeats_allowed=True)
    finally:
        cluster.stop()

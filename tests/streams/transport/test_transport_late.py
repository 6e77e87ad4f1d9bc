"""What a worker that lost its partitions still writes to the changelog: the owner's state stands, and can be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.fixtures.wait import wait_until
from tests.streams.transport.running_stage import LastValue, Running, send
from tests.streams.transport.transport_cluster import Cluster, Record

from costledger.streams.transport import changelog, changelog_topic
from costledger.streams.transport.parts import PART_PREFIX, cut
from costledger.streams.transport.table import decode_change, encode_change


def test_what_another_worker_wrote_late_is_repaired_while_the_owner_works(kafka: Any, tmp_path: Path) -> None:
    """Its state of a key that is quiet since, newer ones than the owner's, deletions and parts: the owner writes its own again.

    Not before it has come as far: until then the other's would win in a recovery.
    """
    cluster = Cluster(kafka, tmp_path, partitions=1)
    changelog = changelog_topic(cluster.app_id, "totals")
    large = b"x" * 5_000
    handler = LastValue()
    running = Running(cluster, handler, batch_bytes_max=2_000)
    late = Producer({"bootstrap.servers": cluster.bootstrap_servers})

    def write_late(key: bytes, source_offset: int, value: bytes | None) -> None:
        stored, headers = encode_change(source_offset, value)
        late.produce(changelog, key=key, value=stored, headers=headers, partition=0)

    def last_of(key: bytes) -> tuple[int | None, Any]:
        return decode_change(Record([one for one in cluster.read(changelog) if one.key() == key][-1]))

    try:
        for key, value in ((b"quiet", b"1"), (b"quiet", b"2"), (b"large", large)):
            send(cluster, (key, value))
        wait_until(cluster.all_committed, 30, "all are committed")
        assert last_of(b"quiet")[1] == b"2"
        parts = [one for one in cluster.recovered()[0].parts if one.startswith(PART_PREFIX)]
        write_late(b"quiet", 0, b"1")
        write_late(b"strange", 5, b"what nobody else knows")
        write_late(b"gone", 5, None)
        late.produce(changelog, key=parts[0], value=None, partition=0)
        assert late.flush(20) == 0
        send(cluster, (b"busy", b"1"))
        wait_until(cluster.all_committed, 30, "it works on")
        # Up to 5 the other had come; 3 is done now.
        assert last_of(b"quiet") == (0, b"1")
        send(cluster, (b"busy", b"2"))
        send(cluster, (b"busy", b"3"))
        wait_until(lambda: last_of(b"quiet")[1] == b"2", 30, "the owner has repaired it")
        wait_until(cluster.all_committed, 30, "it works on")
        assert last_of(b"strange")[1] is None
    finally:
        assert running.stop() == 0
    assert handler.restored == {}
    recovered = cluster.recovered()[0]
    assert {row.key: row.value for row in recovered.state()} == {b"quiet": b"2", b"busy": b"3", b"large": large}
    assert recovered.repairs() == []


@pytest.mark.parametrize("ends", [False, True], ids=["works", "leaves"])
def test_an_owner_without_work_repairs_what_was_written_late(kafka: Any, tmp_path: Path, ends: bool) -> None:
    """Within seconds; and at once where it is about to leave, for whoever comes next recovers from the log."""
    cluster = Cluster(kafka, tmp_path, partitions=1)
    changelog = changelog_topic(cluster.app_id, "totals")
    running = Running(cluster, LastValue())

    def last_value() -> object:
        return decode_change(Record(cluster.read(changelog)[-1]))[1]

    try:
        send(cluster, (b"quiet", b"1"))
        wait_until(cluster.all_committed, 30, "it is committed")
        late = Producer({"bootstrap.servers": cluster.bootstrap_servers})
        late.produce(changelog, key=b"quiet", value=encode_change(0, b"late")[0], partition=0)
        assert late.flush(20) == 0
        assert last_value() == b"late"
        if not ends:
            wait_until(lambda: last_value() == b"1", 30, "the owner has repaired it")
    finally:
        assert running.stop() == 0
    assert last_value() == b"1"


def test_a_late_value_in_parts_can_be_opened(kafka: Any, tmp_path: Path) -> None:
    """Its parts were there when the owner began, and nothing named them: they are kept while that may come, and then deleted."""
    cluster = Cluster(kafka, tmp_path, partitions=1)
    topic = changelog_topic(cluster.app_id, "totals")
    late = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    name, pieces = cut(b"late" * 1_000, 1_500)
    for key, piece in pieces:
        late.produce(topic, key=key, value=piece, partition=0)
    assert late.flush(20) == 0
    send(cluster, (b"other", b"1"), (b"other", b"2"))
    running = Running(cluster, LastValue(), batch_bytes_max=2_000)
    try:
        wait_until(cluster.all_committed, 30, "all are committed")
    finally:
        assert running.stop() == 0
    # Nobody owns the partition just now: whoever comes next finds what came last.
    value, headers = encode_change(5, name)
    late.produce(topic, key=b"large", value=value, headers=headers, partition=0)
    assert late.flush(20) == 0
    assert {row.key: row.value for row in cluster.recovered()[0].state()} == {b"large": b"late" * 1_000, b"other": b"2"}
    handler = LastValue()
    running = Running(cluster, handler, batch_bytes_max=2_000)
    try:
        wait_until(lambda: running.stage.health().ready, 30, "it is open")
        assert handler.restored[b"large"] == (5, b"late" * 1_000)
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize(("kept_seconds", "kept_max", "left"), [(3600.0, 1_000, 3), (3600.0, 2, 2), (0.0, 1_000, 0)])
def test_parts_that_nothing_names_are_deleted_in_time(
    kafka: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_seconds: float, kept_max: int, left: int
) -> None:
    """With the first write after an hour; before that only the oldest of more than so many."""
    monkeypatch.setattr(changelog, "ORPHANS_KEPT_SECONDS", kept_seconds)
    monkeypatch.setattr(changelog, "ORPHANS_MAX", kept_max)
    cluster = Cluster(kafka, tmp_path, partitions=1)
    late = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    _, pieces = cut(b"late" * 1_000, 1_500)
    for key, piece in pieces:
        late.produce(changelog_topic(cluster.app_id, "totals"), key=key, value=piece, partition=0)
    assert late.flush(20) == 0
    send(cluster, (b"other", b"1"))
    running = Running(cluster, LastValue(), batch_bytes_max=2_000)
    try:
        wait_until(cluster.all_committed, 30, "it has written")
    finally:
        assert running.stop() == 0
    assert cluster.recovered()[0].orphans() == [key for key, _ in pieces][len(pieces) - left :]

"""Record batches within bounds: the same records as the client's own reader, and nothing that a hostile batch can do."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from tests.fault.harness import wire

from costledger.streams.transport.batches import INFLATED_BYTES_MAX, UNREADABLE, Batches, PartitionRecords

GOOD = [wire.record(number, b"k%d" % number, b"v" * number, [(b"h", b"x")]) for number in range(50)]


def read(reader: object) -> list[tuple]:
    """(offset, timestamp, key, value) of every record."""
    found = []
    while reader.has_next():  # type: ignore[attr-defined]
        found += [(one.offset, one.timestamp, one.key, one.value) for one in reader.next_batch()]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("codec", wire.CODECS)
def test_batches_are_read_as_the_client_reads_them(codec: str) -> None:
    """Every codec, several batches in one answer, and an end that is cut off."""
    data = wire.batch(GOOD, codec).data * 3
    assert len(read(Batches(data))) == 150
    assert read(Batches(data)) == read(MemoryRecords(data))
    assert read(Batches(data[:-1])) == read(MemoryRecords(data[:-1]))


@pytest.mark.parametrize("count", [None, 20])
def test_records_are_handed_on_as_the_client_hands_them_on(count: int | None) -> None:
    """With everything that is read of them, from the offset that was asked for, all or so many; and the next fetch goes on
    from the same place."""
    data = wire.batch(GOOD, "zstd").data

    def handed_on(kind: Any) -> list[tuple[object, ...]]:
        reader = kind(TopicPartition("t", 0), Batches(data), None, 7, None, None, True, 0)
        found = [
            (one.offset, one.timestamp, one.timestamp_type, one.key, one.value, tuple(one.headers))
            for one in islice(iter(reader), count)
        ]
        return [*found, (reader.next_fetch_offset,)]

    (base,) = PartitionRecords.__bases__
    assert handed_on(PartitionRecords) == handed_on(base)
    assert len(handed_on(PartitionRecords)) == (44 if count is None else count + 1)


@pytest.mark.parametrize("codec", [codec for codec in wire.CODECS if codec != "none"])
def test_a_batch_that_inflates_too_far_is_unreadable_offset_by_offset(codec: str) -> None:
    """And so is one that is damaged within."""
    records = [wire.record(number, b"k", bytes(2**20)) for number in range(INFLATED_BYTES_MAX // 2**20 + 1)]
    bomb = wire.batch(records, codec)
    assert [(offset, value) for offset, _, _, value in read(Batches(bomb.data))] == [
        (offset, UNREADABLE) for offset in range(bomb.records)
    ]
    good = wire.batch(GOOD, codec)
    damaged = good.data[:70] + bytes(10) + good.data[80:]
    assert {value for *_, value in read(Batches(damaged))} == {UNREADABLE}


@pytest.mark.parametrize("codec", wire.CODECS)
def test_headers_that_are_no_text_are_left_out(codec: str) -> None:
    """The record itself, and those around it, are read whole."""
    bad = wire.record(1, b"key", b"value", [(b"\xff\xed\xa0\x80", b"x")])
    batch = wire.batch([GOOD[0], bad, wire.record(2, None, b"last")], codec)
    assert [(key, value) for _, _, key, value in read(Batches(batch.data))] == [
        (b"k0", b""),
        (b"key", b"value"),
        (None, b"last"),
    ]


@pytest.mark.parametrize("codec", [codec for codec in wire.CODECS if codec != "none"])
def test_a_small_batch_takes_little_memory_to_be_read(codec: str) -> None:
    """What a large one may take is asked for once: to hand it out and zero it costs hundreds of times the reading."""
    data = wire.batch(GOOD, codec).data
    read(Batches(data))
    tracemalloc.start()
    try:
        for _ in range(10):
            read(Batches(data))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20


@pytest.mark.parametrize("codec", [codec for codec in wire.CODECS if codec != "none"])
def test_threads_that_read_at_once_share_the_room_that_a_batch_may_take(codec: str) -> None:
    """Each reads its own batch right, and none keeps room of its own: what was read late by another thread stayed for ever."""
    batches = [wire.batch([wire.record(0, b"k", b"%d" % number * 100_000)], codec).data for number in range(4)]
    wanted = [read(MemoryRecords(data)) for data in batches]
    read(Batches(batches[0]))
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(len(batches)) as threads:
            for _ in range(20):
                found = list(threads.map(lambda data: read(Batches(data)), batches))
                assert found == wanted
            _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < INFLATED_BYTES_MAX // 2


def test_snappy_blocks_that_do_not_say_how_long_they_are_are_unreadable() -> None:
    """Longer than there is room for, longer than they are, or without a length."""
    batch = wire.batch(GOOD, "xerial")
    block = batch.data.index(wire.XERIAL_HEADER) + len(wire.XERIAL_HEADER) + 4
    for said in (b"\xff\xff\xff\xff\x07", b"\xff\x7f", b"\x80" * 6):
        damaged = batch.data[:block] + said + batch.data[block + len(said) :]
        assert {value for *_, value in read(Batches(damaged))} == {UNREADABLE}


def test_an_answer_ends_where_its_room_is_used_up() -> None:
    """The client fetches on from there; at least one batch is read each time."""
    batch = wire.batch([wire.record(0, b"k", bytes(INFLATED_BYTES_MAX * 2 // 3))], "zstd")
    reader = Batches(batch.data * 5)
    assert len(read(reader)) == 2
    assert reader.next_batch() is not None

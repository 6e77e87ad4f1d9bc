"""Record batches that inflate to a thousand times their size, or whose headers are no text: read within bounds."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from tests.fault.hostile import wire
from tests.fault.hostile.conftest import HostileSystem, Memory
from tests.sinks.conftest import make_event

from costledger.schemas.codec import encode_event

pytestmark = pytest.mark.fault

MEGABYTE = 2**20
#: Resident memory of a worker: of itself about 150 MB. The stream inflates no batch beyond 16 MB.
STREAM_RSS_BYTES_MAX = 400 * MEGABYTE
#: The sink's client inflates what is not zstd to its full size (the broker bounds what arrives compressed), and a copy of
#: the values is made; of zstd it inflates 100 MB at most.
SINK_RSS_BYTES_MAX = 400 * MEGABYTE
COPIES = 2


def zeros(records: int, bytes_each: int) -> Iterator[bytes]:
    """Records of nothing."""
    value = bytes(bytes_each)
    return (wire.record(number, b"ann", value) for number in range(records))


def good(user: str) -> tuple[wire.RawBatch, int]:
    event = make_event(user)
    return wire.batch([wire.record(0, user.encode(), encode_event(event.to_record()))]), event.amount or 0


@pytest.mark.parametrize(
    ("codec", "records", "bytes_each"),
    [("zstd", 600, MEGABYTE), ("zstd", 3, 10 * MEGABYTE), ("gzip", 300, MEGABYTE), ("lz4", 200, MEGABYTE)],
)
def test_a_compression_bomb_is_refused_and_its_neighbours_land(
    hostile: HostileSystem, codec: str, records: int, bytes_each: int
) -> None:
    """Each message of the bomb is quarantined once; what comes before and after it is counted; memory stays bounded."""
    before, _ = good("ann")
    after, _ = good("ben")
    bomb = wire.batch(zeros(records, bytes_each), codec)
    hostile.send_batches(0, [before, bomb, after])
    workers = {name: hostile.start(name) for name in ("stream", "sink")}
    with Memory([psutil.Process(worker.pid) for worker in workers.values()]) as memory:
        hostile.await_read(120)
    assert hostile.quarantined() == [(0, offset, "oversize") for offset in range(1, records + 1)]
    hostile.await_entries(2)
    inflated = 0 if codec == "zstd" else records * bytes_each
    peaks = {name: memory.peaks[worker.pid] for name, worker in workers.items()}
    print(f"{codec}: {len(bomb.data)} bytes, {({name: peak // MEGABYTE for name, peak in peaks.items()})} MB")
    assert peaks["stream"] < STREAM_RSS_BYTES_MAX
    assert peaks["sink"] < SINK_RSS_BYTES_MAX + COPIES * inflated
    letters = sorted(int(dict(letter.headers())["offset"]) for letter in hostile.dead_letters())
    assert letters == list(range(1, records + 1))
    for worker in workers.values():
        hostile.stop(worker)


def test_headers_that_are_no_text_stop_nobody(hostile: HostileSystem) -> None:
    """An event with a header whose name is not UTF-8 is an event like any other, to the sink and to the stream."""
    event = make_event("ann")
    payload = encode_event(event.to_record())
    hostile.send_batches(
        0,
        [
            wire.batch([wire.record(0, b"ann", payload, [(b"\xff\xed\xa0\x80", b"x"), (b"\x00", b"\xff")])], codec)
            for codec in ("none", "gzip", "snappy", "lz4", "zstd")
        ],
    )
    workers = [hostile.start(name) for name in ("stream", "sink")]
    hostile.await_read()
    assert hostile.quarantined() == []
    hostile.await_entries(1)
    for worker in workers:
        hostile.stop(worker)

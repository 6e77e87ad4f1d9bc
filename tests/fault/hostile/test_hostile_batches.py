"""Record batches that inflate to a thousand times their size, or whose headers are no text: read within bounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psutil
import pytest
from tests.fault.harness import wire
from tests.fault.hostile.conftest import HostileSystem, Memory
from tests.schemas.samples import alert
from tests.sinks.conftest import make_event

from costledger.schemas.codec import encode_alert, encode_event

pytestmark = pytest.mark.fault

MEGABYTE = 2**20
#: Resident memory of a worker: of itself about 150 MB. The stream inflates no batch beyond 16 MB.
STREAM_RSS_BYTES_MAX = 400 * MEGABYTE
#: The sink's client inflates what is not zstd to its full size (the broker bounds what arrives compressed), and a copy of
#: the values is made; of zstd it inflates 100 MB at most.
SINK_RSS_BYTES_MAX = 400 * MEGABYTE
COPIES = 2
BAD_HEADERS = [(b"\xff\xed\xa0\x80", b"x"), (b"\x00", b"\xff"), (b"", b"")]


def zeros(records: int, bytes_each: int) -> Iterator[bytes]:
    """Records of nothing."""
    value = bytes(bytes_each)
    return (wire.record(number, b"ann", value) for number in range(records))


def good(user: str, codec: str = "none", headers: Sequence[tuple[bytes, bytes]] = ()) -> wire.RawBatch:
    """A batch of one good event."""
    event = make_event(user)
    return wire.batch([wire.record(0, user.encode(), encode_event(event.to_record()), headers)], codec)


#: By partition: codec, records, bytes of each. A few kilobytes each, and up to 600 MB inflated.
BOMBS = {0: ("zstd", 600, MEGABYTE), 1: ("zstd", 3, 10 * MEGABYTE)}
#: Snappy makes at best one byte of twenty-one, and the broker takes a megabyte.
MORE_BOMBS = {0: ("gzip", 300, MEGABYTE), 1: ("lz4", 200, MEGABYTE), 2: ("snappy", 20, MEGABYTE)}


@pytest.mark.parametrize("bombs", [BOMBS, pytest.param(MORE_BOMBS, marks=pytest.mark.long)], ids=["zstd", "others"])
def test_compression_bombs_are_refused_and_their_neighbours_land(
    hostile: HostileSystem, bombs: dict[int, tuple[str, int, int]]
) -> None:
    """Each message of a bomb is quarantined once; what comes before and after it is counted; memory stays bounded.

    So it is with batches whose headers are no text: their events are like any other. Reconcile reads all of it.
    """
    inflated = 0
    for partition, (codec, records, bytes_each) in bombs.items():
        bomb = wire.batch(zeros(records, bytes_each), codec)
        hostile.send_batches(partition, [good(f"before-{partition}"), bomb, good(f"after-{partition}")])
        inflated += 0 if codec == "zstd" else records * bytes_each
    hostile.send_batches(3, [good(f"header-{codec}", codec, BAD_HEADERS) for codec in wire.CODECS])
    workers = {name: hostile.start(name) for name in ("stream", "sink")}
    with Memory([psutil.Process(worker.pid) for worker in workers.values()]) as memory:
        hostile.await_read(150)
    poison = [(partition, offset) for partition, bomb in bombs.items() for offset in range(1, bomb[1] + 1)]
    assert hostile.quarantined() == [(*place, "oversize") for place in poison]
    hostile.await_entries(2 * len(bombs) + len(wire.CODECS))
    peaks = {name: memory.peaks[worker.pid] for name, worker in workers.items()}
    sys.stdout.write(f"peaks of resident memory: {peaks}\n")
    assert peaks["stream"] < STREAM_RSS_BYTES_MAX
    assert peaks["sink"] < SINK_RSS_BYTES_MAX + COPIES * inflated
    headers = [dict(letter.headers()) for letter in hostile.dead_letters()]
    assert sorted((int(one["partition"]), int(one["offset"])) for one in headers) == poison
    report = hostile.await_reconciled()
    assert (report["compared"], report["missing"]) == (len(poison) + 2 * len(bombs) + len(wire.CODECS), 0)
    for worker in workers.values():
        hostile.stop(worker)


def test_the_notifier_passes_over_a_compression_bomb(hostile: HostileSystem) -> None:
    """Each message of a bomb among the alerts is put aside once, the alerts around it are stored, and the notifier goes on
    behind it, also when it is started again."""
    codec, records, bytes_each = BOMBS[0]
    before, after, later = (wire.batch([wire.record(0, b"ann", message)]) for message in alerts(3))
    notifier = hostile.start("notifier")
    hostile.send_batches(0, [before, wire.batch(zeros(records, bytes_each), codec), after], "cost.alerts")
    end = records + 2
    hostile.wait_until(lambda: hostile.committed("notifier", "cost.alerts")[0] == end, 60, "the notifier at the end")
    assert hostile.quarantined("cost.alerts") == [(0, offset, "oversize") for offset in range(1, records + 1)]
    assert hostile.value("SELECT count(*) FROM ledger.alerts") == 2
    hostile.stop(notifier)
    notifier = hostile.start("notifier")
    hostile.send_batches(0, [later], "cost.alerts")
    hostile.wait_until(lambda: hostile.value("SELECT count(*) FROM ledger.alerts") == 3, 60, "the third alert")
    assert hostile.value("SELECT count(*) FROM ledger.quarantine") == records
    hostile.stop(notifier)
    assert hostile.log_of("notifier").count("cannot be inflated") == 1


def alerts(count: int) -> Iterator[bytes]:
    """Alerts of different decisions."""
    return (encode_alert(replace(alert(), budget_version=number)) for number in range(1, count + 1))

"""Messages of ten megabytes, maps with a million entries, metadata nested deeply: refused or kept, within bounds (F19)."""

from __future__ import annotations

import sys

import psutil
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.fault.hostile.conftest import HostileSystem, Memory
from tests.fault.hostile.fuzzing import varint
from tests.sinks.conftest import make_event

from costledger.schemas.codec import encode_event

pytestmark = [pytest.mark.fault, pytest.mark.long]

MEGABYTE = 2**20
BIG = 60
#: Less than all of them: who keeps each is found out.
STREAM_RSS_BYTES_MAX = 400 * MEGABYTE
SINK_RSS_BYTES_MAX = 450 * MEGABYTE


def with_map_of(entries: int) -> bytes:
    """An event that ends in a map with so many entries, in blocks of a thousand."""
    whole = encode_event(make_event("ann", metadata={}).to_record())
    block = varint(1000) + b"".join(b"\x0e" + f"{number:07d}".encode() + b"\x00" for number in range(1000))
    return whole[:-1] + block * (entries // 1000) + b"\x00"


def test_oversize_messages_are_refused_within_bounds(hostile: HostileSystem) -> None:
    """Each is put aside once without its bytes, its neighbours land, and neither worker keeps more than a few of them."""
    raise_limit(hostile, 20 * MEGABYTE)
    workers = {name: hostile.start(name) for name in ("stream", "sink")}
    good = [make_event(f"user-{number}") for number in range(BIG)]
    deep = make_event("deep", metadata={"json": "[" * 2000 + "]" * 2000})
    with Memory([psutil.Process(worker.pid) for worker in workers.values()]) as memory:
        messages: list[tuple[bytes | None, bytes]] = []
        for number, event in enumerate(good):
            bad = with_map_of(1_000_000) if number % 10 == 0 else bytes(10 * MEGABYTE)
            messages += [(event.user_id.encode(), bad), (event.user_id.encode(), encode_event(event.to_record()))]
        # A key is no better than a value.
        messages += [(b"k" * 10 * MEGABYTE, b"v"), (b"deep", encode_event(deep.to_record()))]
        hostile.send_raw(messages)
        hostile.await_read(200)
    hostile.await_entries(len(good) + 1)
    peaks = {name: memory.peaks[worker.pid] for name, worker in workers.items()}
    sys.stdout.write(f"peaks of resident memory: {peaks}\n")
    rows = hostile.sql("SELECT reason, payload IS NULL, error FROM ledger.quarantine")
    assert len(rows) == BIG + 1
    assert sum(reason == "oversize" for reason, _, _ in rows) == BIG
    assert all("not kept" in error for _, _, error in rows)
    assert peaks["stream"] < STREAM_RSS_BYTES_MAX
    assert peaks["sink"] < SINK_RSS_BYTES_MAX
    assert len(hostile.dead_letters()) == BIG + 1
    assert hostile.run("quarantine", "replay", "--reason", "oversize", check=False).returncode == 1
    assert hostile.value("SELECT count(*) FROM ledger.quarantine WHERE replayed_at IS NOT NULL") == 0
    hostile.await_reconciled()
    for worker in workers.values():
        hostile.stop(worker)


def raise_limit(hostile: HostileSystem, bytes_max: int) -> None:
    """Let the broker take larger messages for the events topic."""
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, hostile.events_topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": hostile.bootstrap_servers})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)
